"""Grain: ArrayRecord, decoded, cropped and resized by Pillow, normalised by NumPy; on threads, tiles in worker processes."""
import io
import logging
import pathlib

import numpy as np

logging.disable(logging.WARNING)
import grain
from array_record.python.array_record_module import ArrayRecordWriter
from PIL import Image

from common import PAD, SHORT, SIDE, TILE, affine, crop_box, files, shorter

SHARED = affine()


def version():
    import importlib.metadata as metadata
    return ", ".join(f"{name} {metadata.version(name)}" for name in ("grain", "array-record", "pillow"))


def record(job):
    return str(pathlib.Path(job["folder"], "all.arrayrecord"))


def make(job):
    writer = ArrayRecordWriter(record(job), "group_size:1,uncompressed")
    for path, label in zip(*files(job)):
        writer.write(label.to_bytes(8, "little") + pathlib.Path(path).read_bytes())
    writer.close()


def opened_picture(row):
    return Image.open(io.BytesIO(row[8:])).convert("RGB")


def normalised(picture, mirror=False):
    pixels = np.asarray(picture)
    pixels = pixels[:, ::-1] if mirror else pixels
    out = np.empty((3, *pixels.shape[:2]), np.float32)
    for channel, (scale, shift) in enumerate(zip(*SHARED)):
        np.multiply(pixels[:, :, channel], scale, out=out[channel])
        out[channel] += shift
    return out


class Crop(grain.transforms.RandomMap):
    def random_map(self, row, rng):
        picture = opened_picture(row)
        left, top, width, height = crop_box(*picture.size, rng)
        picture = picture.resize((SIDE, SIDE), Image.Resampling.BILINEAR, (left, top, left + width, top + height))
        return normalised(picture, rng.random() < 0.5), int.from_bytes(row[:8], "little")


class Center(grain.transforms.Map):
    def map(self, row):
        picture = opened_picture(row)
        picture = picture.resize(shorter(*picture.size), Image.Resampling.BILINEAR)
        left, top = round((picture.width - SIDE) / 2), round((picture.height - SIDE) / 2)
        return normalised(picture.crop((left, top, left + SIDE, top + SIDE))), int.from_bytes(row[:8], "little")


class Cifar(grain.transforms.RandomMap):
    def random_map(self, row, rng):
        padded = np.zeros((TILE + 2 * PAD, TILE + 2 * PAD, 3), np.uint8)
        padded[PAD:-PAD, PAD:-PAD] = opened_picture(row)
        top, left = rng.integers(0, 2 * PAD + 1, 2)
        return normalised(padded[top : top + TILE, left : left + TILE], rng.random() < 0.5), int.from_bytes(row[:8], "little")


def opened(job):
    from absl import flags
    flags.FLAGS(["child"])
    source = grain.sources.ArrayRecordDataSource(record(job))
    work = {"crop": Crop, "center": Center, "cifar": Cifar}[job["workload"]]()
    rows = grain.MapDataset.source(source).seed(7).shuffle().repeat()
    rows = rows.random_map(work) if isinstance(work, grain.transforms.RandomMap) else rows.map(work)
    # Threads are cheaper where Pillow and NumPy have enough to do without Python's lock; processes copy every batch once more.
    apart = job["workload"] == "cifar"
    rows = rows.to_iter_dataset(grain.ReadOptions(num_threads=0 if apart else job["threads"], prefetch_buffer_size=0 if apart else job["batch"])).batch(job["batch"], drop_remainder=True)
    stream = iter(rows.mp_prefetch(grain.MultiprocessingOptions(num_workers=job["threads"], per_worker_buffer_size=1)) if apart else rows)

    def epoch():
        for _ in range(len(source) // job["batch"]):
            yield next(stream)[0]

    return epoch
