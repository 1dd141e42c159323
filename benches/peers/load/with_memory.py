"""No loader: what memory alone takes of stored pixels, read in random order, and f32 batches, written past the caches (`memory.c`, built by `cc`). Of x86-64 alone."""
import ctypes
import mmap
import pathlib
import subprocess

import numpy as np

HERE = pathlib.Path(__file__).parent
RING = 3  # batches that are written in turn


def version():
    return "memory.c by cc -O2"


def make(job):
    pass


def library(job):
    """Built for each process: it takes a moment, and is not of before a change."""
    folder = pathlib.Path(job["folder"])
    folder.mkdir(exist_ok=True)
    subprocess.run(["cc", "-O2", "-shared", "-fPIC", "-pthread", "-o", str(folder / "memory.so"), str(HERE / "memory.c")], check=True)
    return folder / "memory.so"


class Epoch:
    """What of a batch is asked: its shape."""

    def __init__(self, shape):
        self.shape = shape


def opened(job):
    pixels = np.load(pathlib.Path(job["data"], "pixels.npy"), mmap_mode="r")
    count, batch = len(pixels) // job["batch"] * job["batch"], job["batch"]
    sample = pixels[0].nbytes
    room = mmap.mmap(-1, RING * batch * sample * 4)
    room.madvise(mmap.MADV_HUGEPAGE)
    batches = ctypes.addressof(ctypes.c_char.from_buffer(room))
    call = ctypes.CDLL(str(library(job))).epoch
    call.restype = ctypes.c_longlong
    rng = np.random.default_rng(7)

    def epoch():
        order = rng.permutation(len(pixels))[:count].astype(np.int64)
        long, pointer = ctypes.c_long, ctypes.c_void_p
        call(pointer(pixels.ctypes.data), pointer(order.ctypes.data), long(count), long(sample), long(batch), long(RING), pointer(batches), job["threads"])
        yield Epoch((count, *pixels.shape[1:]))

    epoch.room = room  # what an address alone would not keep
    return epoch
