"""What one file costs the reference decoder, in CPU seconds a decode, on one thread.

    python3 benches/codecs/reference.py FILE     prints {"cpu": seconds, "by": "Pillow 13.0.0 (libjpeg-turbo 3.2.0)"}

Pictures: Pillow to RGB (OpenCV for HDR, ffmpeg for EXR), bytes in memory, the least of several. Recordings and clips: an ffmpeg process that
decodes to nothing (clips to rgb24), less what the same process takes that stops at the first packet.
"""
import io
import json
import os
import re
import resource
import subprocess
import sys
import time

PICTURES = {"jpg", "png", "webp", "gif", "bmp", "tif", "qoi", "ppm", "tga", "ico", "dds", "avif"}


def least(work, seconds=0.4):
    work()
    best, spent = float("inf"), 0.0
    while spent < seconds:
        before = time.process_time()
        work()
        took = time.process_time() - before
        best, spent = min(best, took), spent + took
    return best


def picture(path):
    import PIL
    from PIL import Image, ImageSequence, features

    data = open(path, "rb").read()
    animated = "animation" in os.path.basename(path)

    def decode():
        image = Image.open(io.BytesIO(data))
        if animated:
            for frame in ImageSequence.Iterator(image):
                frame.convert("RGB")
        else:
            image.convert("RGB").load()

    library = {"jpg": "libjpeg_turbo", "webp": "webp", "tif": "libtiff", "avif": "avif"}.get(path.rsplit(".", 1)[1])
    names = {"libjpeg_turbo": "libjpeg-turbo", "webp": "libwebp", "avif": "libavif"}
    version = library and (features.version_feature(library) if library == "libjpeg_turbo" else features.version(library))
    name = f"Pillow {PIL.__version__}" + (f" ({names.get(library, library)} {version})" if version else "")
    return least(decode), name


def light(path):
    import cv2
    import numpy

    cv2.setNumThreads(1)
    data = numpy.fromfile(path, dtype=numpy.uint8)
    assert cv2.imdecode(data, cv2.IMREAD_UNCHANGED) is not None
    return least(lambda: cv2.imdecode(data, cv2.IMREAD_UNCHANGED)), f"OpenCV {cv2.__version__}, floats"


def stream(path, medium):
    kind = {"clip": ["-map", "0:v:0", "-vf", "format=rgb24"], "picture": ["-map", "0:v:0"], "sound": ["-map", "0:a:0"]}[medium]

    times = 10 if medium == "picture" else 1  # one is too little beside the start

    def run(*stop):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        command = ["ffmpeg", "-nostdin", "-loglevel", "error", "-threads", "1", "-stream_loop", str(times - 1), "-i", path, *kind, "-filter_threads", "1", *stop]
        subprocess.run([*command, "-f", "null", "-"], check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    start = min(run("-t", "0") for _ in range(3))
    said = subprocess.run(["ffmpeg", "-version"], capture_output=True, text=True, check=True).stdout
    return max(min(run() for _ in range(3)) - start, 0.0) / times, "ffmpeg " + re.search(r"version ([\d.]+)", said).group(1)


def main():
    path = sys.argv[1]
    kind = path.rsplit(".", 1)[1]
    if kind in PICTURES:
        cpu, by = picture(path)
    elif kind == "hdr":
        cpu, by = light(path)
    elif kind == "exr":
        cpu, by = stream(path, "picture")
    else:
        clip = re.match(r"(h26|vp|av1|mjpeg|mpeg|prores|wmv|theora)", os.path.basename(path))
        cpu, by = stream(path, "clip" if clip else "sound")
    print(json.dumps({"cpu": cpu, "by": by}))


main()
