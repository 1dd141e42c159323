"""NumPy by hand, on one thread: rows of a mapped file in random order, into a new array for each batch. Variants: `reused` writes all batches into one array, `three` has tokens, segments and positions."""
import pathlib

import numpy as np

from common import affine


def version():
    return "NumPy " + np.__version__


def make(job):
    pass


def raw(job):
    pixels = np.load(pathlib.Path(job["data"], "pixels.npy"), mmap_mode="r")
    scale, shift = (part[:, None, None] for part in affine())

    kept = np.empty((job["batch"], *pixels.shape[1:]), np.float32)

    def batch(rows):
        out = kept if job["variant"] == "reused" else np.empty_like(kept)
        for place, row in enumerate(rows):
            out[place] = pixels[row]
            out[place] *= scale
            out[place] += shift
        return out

    return len(pixels), batch


def text(job):
    names = ["tokens", "segments", "positions"] if job["variant"] == "three" else ["tokens"]
    maps = [np.load(pathlib.Path(job["data"], f"{name}.npy"), mmap_mode="r") for name in names]
    return len(maps[0]), lambda rows: [part[rows].astype(np.int64) for part in maps][0]


def opened(job):
    count, batch = globals()[job["workload"]](job)
    rng = np.random.default_rng(7)

    def epoch():
        order = rng.permutation(count)
        for at in range(0, count - job["batch"] + 1, job["batch"]):
            yield batch(order[at : at + job["batch"]])

    return epoch
