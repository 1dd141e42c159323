"""What all contestants share: the numbers of the work, the files it is done on, and the filters of the sound workload."""
import json
import math
import pathlib

import numpy as np

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
SIDE, SHORT = 224, 256
SCALE, RATIO = (0.08, 1.0), (3 / 4, 4 / 3)
TILE, PAD = 32, 4
FROM, TO, N_FFT, HOP, MELS, FLOOR = 8000, 16000, 400, 160, 80, 1e-10
ROW = 2048


def affine():
    """`(x / 255 - mean) / std` as `x * scale + shift`, f32 of each channel."""
    mean, std = np.array(MEAN), np.array(STD)
    return (1 / (255 * std)).astype(np.float32), (-mean / std).astype(np.float32)


def files(job):
    """The files of a workload and the number of each one's class."""
    listed = json.loads(pathlib.Path(job["data"], "files.json").read_text())
    return [str(pathlib.Path(listed["root"], name)) for name, _ in listed["files"]], [label for _, label in listed["files"]]


def crop_box(width, height, rng):
    """A rectangle (left, top, width, height) of random area and aspect; after ten misses the middle, as near to the picture's aspect as the bounds let it be."""
    for _ in range(10):
        area = width * height * rng.uniform(*SCALE)
        aspect = math.exp(rng.uniform(math.log(RATIO[0]), math.log(RATIO[1])))
        w, h = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < w <= width and 0 < h <= height:
            return int(rng.integers(0, width - w + 1)), int(rng.integers(0, height - h + 1)), w, h
    aspect = min(max(width / height, RATIO[0]), RATIO[1])
    w, h = min(width, round(height * aspect)), min(height, round(width / aspect))
    return (width - w) // 2, (height - h) // 2, w, h


def shorter(width, height):
    """Width and height with the shorter side SHORT."""
    return (SHORT, int(SHORT * height / width)) if width <= height else (int(SHORT * width / height), SHORT)


def mel_filters():
    """Triangles of equal area on Slaney's mel scale, f32 [N_FFT / 2 + 1, MELS]."""
    step = math.log(6.4) / 27
    to_mel = lambda hz: hz * 3 / 200 if hz < 1000 else 15 + math.log(hz / 1000) / step
    to_hz = lambda mel: mel * 200 / 3 if mel < 15 else 1000 * math.exp(step * (mel - 15))
    edges = np.array([to_hz(to_mel(TO / 2) * i / (MELS + 1)) for i in range(MELS + 2)])
    bins = np.linspace(0, TO / 2, N_FFT // 2 + 1)[:, None]
    low, middle, high = edges[:-2], edges[1:-1], edges[2:]
    triangles = np.minimum((bins - low) / (middle - low), (high - bins) / (high - middle))
    return (np.maximum(triangles, 0) * 2 / (high - low)).astype(np.float32)


def doubling(zeros=6, rolloff=0.99):
    """Filters that give the even and the odd samples of a signal at twice its rate: a windowed sinc of so many zero crossings on a side, f32 [taps, 2], and its half width."""
    half = math.ceil(zeros / rolloff)
    at = np.arange(-half, half + 1)[:, None] - np.array([0.0, 0.5])
    window = np.cos(np.pi * np.clip(at * rolloff, -zeros, zeros) / zeros / 2) ** 2
    return (np.sinc(at * rolloff) * rolloff * window).astype(np.float32), half
