"""FFCV: threads that run code made by Numba. Its file has pictures that it encoded anew, since it takes pixels and no JPEG bytes."""
import pathlib

import numpy as np
from ffcv.fields import IntField, RGBImageField
from ffcv.fields.decoders import CenterCropRGBImageDecoder, IntDecoder, RandomResizedCropRGBImageDecoder, SimpleRGBImageDecoder
from ffcv.loader import Loader, OrderOption
from ffcv.transforms import NormalizeImage, RandomHorizontalFlip, RandomTranslate, ToTensor, ToTorchImage
from ffcv.writer import DatasetWriter

from common import MEAN, PAD, RATIO, SCALE, SHORT, SIDE, STD, files

# At 70 these photos have as many bytes as they came with.
QUALITY = {"crop": 70, "center": 70, "cifar": 95, "raw": 95}


def version():
    import importlib.metadata as metadata
    return "FFCV " + metadata.version("ffcv")


def beton(job):
    return str(pathlib.Path(job["folder"], "all.beton"))


class Pictures:
    def __init__(self, job):
        self.paths, self.labels = files(job)

    def __len__(self):
        return len(self.paths)

    def __getitem__(self, at):
        from PIL import Image
        with Image.open(self.paths[at]) as picture:
            return np.asarray(picture.convert("RGB")), self.labels[at]


def make(job):
    how = "raw" if job["workload"] == "raw" else "jpg"
    field = RGBImageField(write_mode=how, jpeg_quality=QUALITY[job["workload"]])
    DatasetWriter(beton(job), {"image": field, "label": IntField()}, num_workers=1).from_indexed_dataset(Pictures(job))


def opened(job):
    decoder = {
        "crop": lambda: [RandomResizedCropRGBImageDecoder((SIDE, SIDE), SCALE, RATIO), RandomHorizontalFlip()],
        "center": lambda: [CenterCropRGBImageDecoder((SIDE, SIDE), SIDE / SHORT)],
        "cifar": lambda: [SimpleRGBImageDecoder(), RandomHorizontalFlip(), RandomTranslate(PAD)],
        "raw": lambda: [SimpleRGBImageDecoder()],
    }[job["workload"]]()
    mean, std = 255 * np.array(MEAN), 255 * np.array(STD)
    steps = decoder + [NormalizeImage(mean, std, np.float32), ToTensor(), ToTorchImage(channels_last=False, convert_back_int16=False)]
    pipelines = {"image": steps, "label": [IntDecoder(), ToTensor()]}
    loader = Loader(beton(job), batch_size=job["batch"], num_workers=job["threads"], order=OrderOption.RANDOM, os_cache=True, drop_last=True, seed=7, batches_ahead=2, pipelines=pipelines)

    def epoch():
        for images, _ in loader:
            yield images

    return epoch
