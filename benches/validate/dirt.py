"""What `dsctl validate` finds of known dirt: copies of real media, some of them spoilt in a known way, each kind counted.

    python3 benches/validate/dirt.py DATA DSCTL OUT

DATA holds `clothing`, `spoken-digits`, `clips` and `shakespeare.txt` (any photos, recordings, clips and text by these names do).
Needs Pillow, NumPy, SciPy, soundfile and imageio-ffmpeg. What is drawn follows from the seed. The table goes to stdout.
"""

import csv
import json
import random
import shutil
import subprocess
import sys
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import soundfile
from PIL import Image, ImageFilter
from scipy.signal import resample_poly

DATA, DSCTL, OUT = Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3])
random.seed(5)
draws = np.random.default_rng(5)


def fresh(name):
    shutil.rmtree(OUT / name, ignore_errors=True)
    (OUT / name).mkdir(parents=True)
    return OUT / name


def spoilt(names, kinds, each):
    """Which name gets which kind of dirt; the rest stay clean."""
    some = random.sample(names, each * len(kinds))
    return {name: kinds[i // each] for i, name in enumerate(some)}


def validate(place):
    done = subprocess.run([DSCTL, "validate", place, "--json", "--quiet", "--max-findings", "1000000"], capture_output=True)
    assert done.returncode in (0, 3), done.stderr.decode()
    return {lint["code"]: [f["id"] for f in lint["findings"] if f["id"]] for lint in json.loads(done.stdout)["lints"]}


def count(title, place, dirt, total, lints):
    """One line for each lint: `dirt` says by id what was done to it."""
    found = validate(place)
    named = {lint for of in lints.values() for lint in of}
    for kind, lint in ((kind, lint) for kind, of in lints.items() for lint in of):
        rows = {i for i, k in dirt.items() if k == kind}
        # Several kinds of dirt may be one lint's.
        own = {i for i, k in dirt.items() if lint in lints[k]}
        hits = set(found[lint])
        right, clean, other = len(hits & rows), len(hits - set(dirt)), len(hits & set(dirt) - own)
        recall, precision = right / max(len(rows), 1), len(hits & own) / max(len(hits), 1)
        print(f"| {title} | {kind} | `{lint}` | {right} of {len(rows)} ({recall:.0%}) | {clean} of {total - len(dirt)} | {other} | {precision:.0%} |", flush=True)
    for lint in sorted(set(found) - named):
        if found[lint]:
            print(f"| {title} | none | `{lint}` | | {len(set(found[lint]) - set(dirt))} of {total - len(dirt)} | {len(set(found[lint]) & set(dirt))} | |", flush=True)


def photos():
    folder = fresh("photos")
    paths = {p.relative_to(DATA / "clothing" / "train").as_posix(): p for p in sorted((DATA / "clothing" / "train").rglob("*.jpg"))[::2]}
    kinds = ["darkened to 5-25 %", "washed out", "blurred lightly (radius 2 %)", "blurred (radius 5 %)", "blurred heavily (radius 15 %)", "one colour", "a strip", "a thumbnail", "gray", "cut short"]
    dirt = spoilt(sorted(paths), kinds, 20)
    for name, path in paths.items():
        to = folder / name
        to.parent.mkdir(parents=True, exist_ok=True)
        kind = dirt.get(name)
        if kind is None:
            shutil.copy(path, to)
            continue
        if kind == "cut short":
            data = path.read_bytes()
            to.write_bytes(data[: int(len(data) * draws.uniform(0.3, 0.95))])
            continue
        image = Image.open(path).convert("RGB")
        w, h = image.size
        if kind.startswith("darkened"):
            by = draws.uniform(0.05, 0.25)
            image = image.point(lambda v: int(v * by))
        elif kind == "washed out":
            image = image.point(lambda v: 244 + v // 24)
        elif kind.startswith("blurred"):
            share = {"lightly": 0.02, "(radius": 0.05, "heavily": 0.15}[kind.split()[1]]
            image = image.filter(ImageFilter.GaussianBlur(share * max(w, h)))
        elif kind == "one colour":
            image = Image.new("RGB", image.size, tuple(int(v) for v in draws.integers(80, 220, 3)))
        elif kind == "a strip":
            image = image.crop((0, h // 3, w, h // 3 + w // 4))
        elif kind == "a thumbnail":
            image = image.resize((w // 6, h // 6))
        elif kind == "gray":
            image = image.convert("L")
        image.save(to, quality=90)
    blur = ["blurred", "out-of-focus"]
    lints = dict(zip(kinds, [["dark"], ["light"], blur, blur, blur, ["low-information"], ["odd-aspect"], ["odd-size"], ["gray-among-colour"], ["undecodable"]]))
    count("photos", folder, dirt, len(paths), lints)


def recordings():
    folder = fresh("recordings")
    paths = {p.name: p for p in sorted((DATA / "spoken-digits").glob("*.wav"))}
    kinds = ["silenced (-80 dB)", "clipped (1-10 % of samples)", "offset of 3-10 %", "10 times as long", "cut short"]
    dirt = spoilt(sorted(paths), kinds, 20)
    for name, path in paths.items():
        kind = dirt.get(name)
        if kind is None:
            shutil.copy(path, folder / name)
            continue
        if kind == "cut short":
            data = path.read_bytes()
            (folder / name).write_bytes(data[: 44 + int((len(data) - 44) * draws.uniform(0.2, 0.9)) // 2 * 2])
            continue
        samples, rate = soundfile.read(path)
        if kind.startswith("silenced"):
            samples = samples / np.abs(samples).max() * 1e-4
        elif kind.startswith("clipped"):
            samples = samples / np.quantile(np.abs(samples), 1 - draws.uniform(0.01, 0.1))
        elif kind.startswith("offset"):
            samples = samples * 0.8 + draws.uniform(0.03, 0.1) * draws.choice([-1, 1])
        elif kind.startswith("10 times"):
            samples = np.tile(samples, 10)
        soundfile.write(folder / name, np.clip(samples, -1, 1 - 2**-15), rate, "PCM_16")
    lints = dict(zip(kinds, [["silent"], ["clipped"], ["dc-offset"], ["odd-duration"], ["left-out"]]))
    count("recordings", folder, dirt, len(paths), lints)
    # A rate is one finding, whatever the number of its rows.
    rates = fresh("rates")
    for i, (name, path) in enumerate(paths.items()):
        samples, rate = soundfile.read(path)
        up = 2 if i % 40 == 0 else 1
        soundfile.write(rates / name, resample_poly(samples, up, 1) if up == 2 else samples, rate * up)
    first = next(iter(paths))
    count("recordings", rates, {first: "12 at another rate"}, len(paths), {"12 at another rate": ["mixed-sample-rates"]})


WORDS = "zero one two three four five six seven eight nine".split()


def transcripts():
    folder = fresh("transcripts")
    names = sorted(p.name for p in (DATA / "spoken-digits").glob("*.wav"))
    kinds = ["empty", "a sentence in its place", "a paragraph in its place"]
    dirt = spoilt(names, kinds, 15)
    lines = [line.strip() for line in (DATA / "shakespeare.txt").read_text().split("\n") if 25 < len(line) < 40]
    with open(folder / "rows.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "text"])
        for name in names:
            shutil.copy(DATA / "spoken-digits" / name, folder / name)
            kind = dirt.get(name)
            text = {None: WORDS[int(name[0])], "empty": "", kinds[1]: random.choice(lines), kinds[2]: " ".join(random.sample(lines, 5))}[kind]
            writer.writerow([name, text])
    shutil.rmtree(OUT / "transcripts.dataset", ignore_errors=True)
    subprocess.run([DSCTL, "ingest", folder / "rows.csv", OUT / "transcripts.dataset", "--quiet"], check=True, stdout=subprocess.DEVNULL)
    lints = dict(zip(kinds, [["transcript-empty"], ["transcript-odd-rate"], ["transcript-odd-rate", "transcript-too-fast"]]))
    count("transcripts", OUT / "transcripts.dataset", dirt, len(names), lints)


def texts():
    folder = fresh("texts")
    lines = sorted({line.strip() for line in (DATA / "shakespeare.txt").read_text().split("\n") if len(line) > 20})
    lines = random.sample(lines, 4000)
    accents = str.maketrans("aeou'", "àéöü’")
    ids = [str(i) for i in range(len(lines))]
    kinds = ["read as Windows-1252", "read as Latin-1", "undecodable bytes replaced", "escape sequences", "60 lines in one"]
    dirt = spoilt(ids, kinds, 40)
    rows = []
    for number, line in zip(ids, lines):
        kind = dirt.get(number)
        # Every third clean line has letters beyond ASCII; what is to be misread has some in any case.
        text = line.translate(accents) if int(number) % 3 == 0 or (kind and kind[0] in "ru") else line
        if kind == "read as Windows-1252":
            text = "".join(bytes([b]).decode("cp1252", errors="replace").replace("\ufffd", chr(b)) for b in text.encode())
        elif kind == "read as Latin-1":
            text = text.encode().decode("latin-1")
        elif kind == "undecodable bytes replaced":
            text = text.encode("cp1252").decode("utf-8", errors="replace")
        elif kind == "escape sequences":
            text = f"\x1b[1m{text}\x1b[0m"
        elif kind == "60 lines in one":
            text = " ".join(random.sample(lines, 60))
        rows.append({"key": int(number), "text": text})
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    shutil.rmtree(OUT / "texts.dataset", ignore_errors=True)
    subprocess.run([DSCTL, "ingest", folder / "rows.jsonl", OUT / "texts.dataset", "--quiet"], check=True, stdout=subprocess.DEVNULL)
    listed = subprocess.run([DSCTL, "ls", OUT / "texts.dataset", "--rows", "--limit", "100000", "--json"], capture_output=True, check=True)
    named = {str(row["values"]["key"]): row["id"] for row in json.loads(listed.stdout)}
    dirt = {named[number]: kind for number, kind in dirt.items()}
    lints = dict(zip(kinds, [["mojibake"], ["mojibake"], ["mojibake"], ["control-characters"], ["text-long"]]))
    count("texts", OUT / "texts.dataset", dirt, len(rows), lints)


def clips():
    folder = fresh("clips")
    ffmpeg = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-y"]
    dirt, total = {}, 0
    for path in sorted(p for p in (DATA / "clips").iterdir() if p.suffix in (".mkv", ".mp4")):
        shutil.copy(path, folder / path.name)
        frozen, black = f"frozen_{path.stem}.mp4", f"black_{path.stem}.mp4"
        encode = ["-an", "-pix_fmt", "yuv420p", "-c:v", "libx264", "-crf", "23"]
        subprocess.run([*ffmpeg, "-i", path, "-vf", "trim=end_frame=1,loop=60:1:0", *encode, folder / frozen], check=True)
        subprocess.run([*ffmpeg, "-i", path, "-t", "3", "-vf", "lutyuv=y='16+(val-16)*0.04':u=128:v=128,noise=alls=4:allf=t", *encode, folder / black], check=True)
        dirt |= {frozen: "one frame again and again", black: "nearly black, with noise"}
        total += 3
    count("clips", folder, dirt, total, {"one frame again and again": ["clip-frozen"], "nearly black, with noise": ["clip-black"]})


print("| media | dirt | lint | found | of clean rows | of other dirt | precision |\n|---|---|---|---|---|---|---|")
for kind in sys.argv[4:] or ["photos", "recordings", "transcripts", "texts", "clips"]:
    globals()[kind]()
