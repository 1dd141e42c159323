"""Makes what several contestants read: lists of files with their classes, tiles, squares, and texts. A module as child.py wants it; it has no batches."""
import json
import pathlib
import random
import re

from common import SIDE, TILE, shorter

TILES = 10_000
COPIES = 20


def version():
    return ""


def listed(job, root, names, labels):
    classes = sorted(set(labels))
    content = {"root": str(root), "files": [(name, classes.index(label)) for name, label in zip(names, labels)]}
    pathlib.Path(job["data"], "files.json").write_text(json.dumps(content))


def folder(job, root, pattern):
    """Lists class folders."""
    paths = sorted(pathlib.Path(root).rglob(pattern))
    if not paths:
        raise SystemExit(f"no {pattern} in {root}")
    listed(job, root, [str(path.relative_to(root)) for path in paths], [path.parent.name for path in paths])
    return paths


def photos(job):
    folder(job, job["photos"], "*.jpg")


def tiles(job):
    """Squares of random place and size out of the photos, scaled to 32 x 32."""
    from PIL import Image
    draws, sources = random.Random(7), sorted(pathlib.Path(job["photos"]).rglob("*.jpg"))
    for number in range(TILES):
        path = sources[number % len(sources)]
        with Image.open(path) as picture:
            picture = picture.convert("RGB")
        side = draws.randint(64, min(picture.size))
        left, top = draws.randint(0, picture.width - side), draws.randint(0, picture.height - side)
        tile = picture.resize((TILE, TILE), Image.Resampling.BILINEAR, (left, top, left + side, top + side))
        out = pathlib.Path(job["data"], "tiles", path.parent.name, f"{number:05}.jpg")
        out.parent.mkdir(parents=True, exist_ok=True)
        tile.save(out, quality=95)
    folder(job, pathlib.Path(job["data"], "tiles"), "*.jpg")


def squares(job):
    """The middle 224 x 224 of each photo whose shorter side is scaled to 256: PNGs, and one array of u8 [N, 3, 224, 224]."""
    import numpy as np
    from PIL import Image
    sources = sorted(pathlib.Path(job["photos"]).rglob("*.jpg"))
    pixels = np.lib.format.open_memmap(pathlib.Path(job["data"], "pixels.npy"), "w+", np.uint8, (len(sources), 3, SIDE, SIDE))
    for number, path in enumerate(sources):
        with Image.open(path) as picture:
            picture = picture.convert("RGB")
        picture = picture.resize(shorter(*picture.size), Image.Resampling.BILINEAR)
        left, top = round((picture.width - SIDE) / 2), round((picture.height - SIDE) / 2)
        picture = picture.crop((left, top, left + SIDE, top + SIDE))
        pixels[number] = np.asarray(picture).transpose(2, 0, 1)
        out = pathlib.Path(job["data"], "squares", path.parent.name, f"{number:05}.png")
        out.parent.mkdir(parents=True, exist_ok=True)
        picture.save(out, compress_level=1)
    pixels.flush()
    folder(job, pathlib.Path(job["data"], "squares"), "*.png")


def recordings(job):
    paths = sorted(pathlib.Path(job["sounds"]).glob("*.wav"))
    if not paths:
        raise SystemExit(f"no *.wav in {job['sounds']}")
    listed(job, job["sounds"], [path.name for path in paths], [re.match(r"[^_]+", path.name)[0] for path in paths])


def texts(job):
    """So many copies of the text, as files."""
    text = pathlib.Path(job["text"]).read_text()
    out = pathlib.Path(job["data"], "texts")
    out.mkdir(parents=True, exist_ok=True)
    for number in range(COPIES):
        (out / f"{number:02}.txt").write_text(text)


def make(job):
    pathlib.Path(job["data"]).mkdir(parents=True, exist_ok=True)
    {"crop": photos, "center": photos, "cifar": tiles, "raw": squares, "audio": recordings, "text": texts}[job["workload"]](job)
