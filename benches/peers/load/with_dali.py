"""NVIDIA DALI on the CPU. One process; the threads are DALI's."""
import math

import numpy as np
import nvidia.dali as dali
from nvidia.dali import fn, pipeline_def, types

from common import FLOOR, HOP, MEAN, MELS, N_FFT, PAD, RATIO, SCALE, SHORT, SIDE, STD, TILE, TO, files


def version():
    return "DALI " + dali.__version__


def make(job):
    pass


def normalised(images, mirror, **crop):
    mean, std = [255 * m for m in MEAN], [255 * s for s in STD]
    return fn.crop_mirror_normalize(images, dtype=types.FLOAT, output_layout="CHW", mean=mean, std=std, mirror=mirror, **crop)


def crop(encoded):
    images = fn.decoders.image_random_crop(encoded, output_type=types.RGB, random_area=list(SCALE), random_aspect_ratio=list(RATIO), num_attempts=10)
    images = fn.resize(images, resize_x=SIDE, resize_y=SIDE, interp_type=types.INTERP_LINEAR, antialias=True)
    return normalised(images, fn.random.coin_flip())


def center(encoded):
    images = fn.resize(fn.decoders.image(encoded, output_type=types.RGB), resize_shorter=SHORT, interp_type=types.INTERP_LINEAR, antialias=True)
    return normalised(images, 0, crop=(SIDE, SIDE))


def cifar(encoded):
    images = fn.decoders.image(encoded, output_type=types.RGB)
    start = fn.random.uniform(values=[float(at) for at in range(-PAD, PAD + 1)], shape=2)
    places = dict(axes=[0, 1], normalized_anchor=False, normalized_shape=False, out_of_bounds_policy="pad", fill_values=[0])
    return normalised(fn.slice(images, fn.cast(start, dtype=types.INT32), [TILE, TILE], **places), fn.random.coin_flip())


def audio(encoded):
    sound, _ = fn.decoders.audio(encoded, sample_rate=TO, downmix=True)
    power = fn.spectrogram(sound, nfft=N_FFT, window_length=N_FFT, window_step=HOP, power=2)
    mels = fn.mel_filter_bank(power, sample_rate=TO, nfilter=MELS)
    # ln, with the least value that the logarithm is taken of.
    logs = fn.to_decibels(mels, multiplier=math.log(10), reference=1.0, cutoff_db=math.log(FLOOR))
    return fn.pad(logs, axes=[1], fill_value=math.log(FLOOR))


def opened(job):
    paths, labels = files(job)
    work = globals()[job["workload"]]

    @pipeline_def(batch_size=job["batch"], num_threads=job["threads"], device_id=None, seed=7, prefetch_queue_depth=2)
    def pipeline():
        encoded, label = fn.readers.file(files=paths, labels=labels, shuffle_after_epoch=True, name="reader")
        return work(encoded), label

    pipe = pipeline()
    pipe.build()

    def epoch():
        for _ in range(len(paths) // job["batch"]):
            values, _ = pipe.run()
            yield np.asarray(values.as_tensor())

    return epoch
