"""Transformed copies of real media, labelled by the transformation: what `cargo bench --bench near` measures fingerprints on.

    python3 benches/duplicates/copies.py DATA OUT

DATA holds `clothing`, `spoken-digits`, `clips` and `shakespeare.txt` (any photos, recordings, clips and text by these names do).
Needs Pillow, NumPy, SciPy, soundfile (with MP3 and Opus) and the command `ffmpeg`. What is drawn follows from the seed.

Makes `OUT/KIND/TRANSFORMATION/STEM.EXTENSION`: all copies of one stem are of one original, and different stems are taken for
different things, although the data may hold duplicates of its own (look at what is found). `original` has more stems than the rest: the
others are there to be mistaken for copies.
"""

import io
import random
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import soundfile
from PIL import Image, ImageDraw, ImageEnhance, ImageFilter, ImageFont, ImageOps
from scipy.signal import resample_poly

DATA, OUT = Path(sys.argv[1]), Path(sys.argv[2])
PHOTOS, SOUNDS = 300, 480


def draws(*of):
    return np.random.default_rng(zlib.crc32(repr(of).encode()))


def place(kind, name, stem, extension):
    folder = OUT / kind / name
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f"{stem}.{extension}"


# Pictures.

def jpeg(quality, **more):
    def save(image, path):
        image.save(path, quality=quality, **more)
    return "jpg", save


def png(change):
    """Saved without loss, so that only the change is measured."""
    return "png", lambda image, path: change(image).save(path, compress_level=1)


def scaled(factor, how=Image.Resampling.LANCZOS):
    return lambda image: image.resize((max(1, round(image.width * factor)), max(1, round(image.height * factor))), how)


def cropped(share):
    """`share` of each side is cut away, unequally at both ends."""
    def crop(image):
        w, h = image.size
        left, top = round(w * share * 0.3), round(h * share * 0.7)
        return image.crop((left, top, left + round(w * (1 - share)), top + round(h * (1 - share))))
    return crop


def noisy(deviation):
    def noise(image):
        pixels = np.asarray(image).astype(float)
        return Image.fromarray((pixels + draws("noise", pixels.sum()).normal(0, deviation, pixels.shape)).clip(0, 255).round().astype(np.uint8))
    return noise


def watermarked(image):
    image = image.copy()
    layer = Image.new("L", image.size, 0)
    font = ImageFont.load_default(size=max(10, image.width // 10))
    ImageDraw.Draw(layer).text((image.width * 0.1, image.height * 0.45), "SAMPLE PHOTO", fill=150, font=font)
    image.paste((255, 255, 255), (0, 0), layer)
    return image


def bordered(image):
    return ImageOps.expand(image, border=round(image.width * 0.05), fill=(255, 255, 255))


def gamma(value):
    return lambda image: image.point([round(255 * (v / 255) ** value) for v in range(256)] * 3)


PICTURES = {
    "jpeg q50": jpeg(50),
    "jpeg q20": jpeg(20),
    "jpeg 4:4:4 progressive": jpeg(85, subsampling=0, progressive=True),
    "webp q60": ("webp", lambda image, path: image.save(path, quality=60)),
    "png": png(lambda image: image),
    "half size": png(scaled(0.5)),
    "quarter size, bilinear": png(scaled(0.25, Image.Resampling.BILINEAR)),
    "twice the size": ("jpg", lambda image, path: scaled(2)(image).save(path, quality=90)),
    "squeezed to a square": png(lambda image: image.resize((256, 256), Image.Resampling.BICUBIC)),
    "brightness +15 %": png(lambda image: ImageEnhance.Brightness(image).enhance(1.15)),
    "brightness -15 %": png(lambda image: ImageEnhance.Brightness(image).enhance(0.85)),
    "contrast +15 %": png(lambda image: ImageEnhance.Contrast(image).enhance(1.15)),
    "contrast -15 %": png(lambda image: ImageEnhance.Contrast(image).enhance(0.85)),
    "gamma 1.3": png(gamma(1.3)),
    "gray": png(lambda image: image.convert("L").convert("RGB")),
    "noise of 10 levels": png(noisy(10)),
    "blurred, radius 2": png(lambda image: image.filter(ImageFilter.GaussianBlur(2))),
    "watermark": png(watermarked),
    "border of 5 %": png(bordered),
    "cropped 2 %": png(cropped(0.02)),
    "cropped 5 %": png(cropped(0.05)),
    "cropped 10 %": png(cropped(0.10)),
    "cropped 25 %": png(cropped(0.25)),
    "turned by 2 degrees": png(lambda image: image.rotate(2, Image.Resampling.BICUBIC)),
    "mirrored": png(ImageOps.mirror),
    "upside down": png(ImageOps.flip),
    "turned by 90 degrees": png(lambda image: image.transpose(Image.Transpose.ROTATE_90)),
}


def pictures():
    files = sorted((DATA / "clothing").rglob("*.jpg"))
    random.Random(5).shuffle(files)
    for n, file in enumerate(files):
        stem = f"{n:04}_{file.parent.name}_{file.stem}"
        path = place("pictures", "original", stem, "jpg")
        path.write_bytes(file.read_bytes())
        if n < PHOTOS:
            image = Image.open(file).convert("RGB")
            for name, (extension, save) in PICTURES.items():
                save(image, place("pictures", name, stem, extension))


# Sounds.

def coded(wave, rate, form, subtype, level):
    buffer = io.BytesIO()
    soundfile.write(buffer, wave, rate, format=form, subtype=subtype, compression_level=level)
    return buffer.getvalue()


def sound_copies(wave, rate, stem):
    """Name, extension, bytes."""
    def pcm(samples, rate=rate, subtype="PCM_16"):
        buffer = io.BytesIO()
        soundfile.write(buffer, np.clip(samples, -1, 1 - 2**-15), rate, format="WAV", subtype=subtype)
        return buffer.getvalue()

    power = np.mean(wave**2)
    noise = lambda db: draws(stem, db).normal(0, np.sqrt(power / 10 ** (db / 10)), len(wave))
    lead = int(rate * 0.02)
    yield "flac", "flac", coded(wave, rate, "FLAC", "PCM_16", 0.5)
    yield "mp3, coarse", "mp3", coded(wave, rate, "MP3", "MPEG_LAYER_III", 0.95)
    yield "mp3, fine", "mp3", coded(wave, rate, "MP3", "MPEG_LAYER_III", 0.3)
    yield "vorbis", "ogg", coded(wave, rate, "OGG", "VORBIS", 0.7)
    yield "opus", "opus", coded(wave, rate, "OGG", "OPUS", 0.9)
    yield "8 bits", "wav", pcm(wave, subtype="PCM_U8")
    yield "gain -6 dB", "wav", pcm(wave / 2)
    yield "gain +6 dB, clipped", "wav", pcm(wave * 2)
    yield "noise, 30 dB below", "wav", pcm(wave + noise(30))
    yield "noise, 20 dB below", "wav", pcm(wave + noise(20))
    yield "noise, 10 dB below", "wav", pcm(wave + noise(10))
    yield "20 ms of silence in front", "wav", pcm(np.concatenate([np.zeros(lead), wave]))
    yield "first 20 ms cut off", "wav", pcm(wave[lead:])
    yield "7 ms of silence in front", "wav", pcm(np.concatenate([np.zeros(int(rate * 0.007)), wave]))
    yield "half a second of silence in front", "wav", pcm(np.concatenate([np.zeros(rate // 2), wave]))
    yield "at 16 kHz", "wav", pcm(resample_poly(wave, 16_000, rate), 16_000)
    yield "at 44.1 kHz", "wav", pcm(resample_poly(wave, 441, rate // 100), 44_100)
    yield "stereo", "wav", pcm(np.stack([wave, wave * 0.8], axis=1))
    yield "speed 1.01", "wav", pcm(resample_poly(wave, 100, 101))
    yield "speed 1.03", "wav", pcm(resample_poly(wave, 100, 103))
    yield "last tenth cut off", "wav", pcm(wave[: len(wave) * 9 // 10])


def sounds():
    for file in sorted((DATA / "spoken-digits").glob("*.wav")):
        wave, rate = soundfile.read(file)
        place("sounds", "original", file.stem, "wav").write_bytes(file.read_bytes())
        for name, extension, made in sound_copies(wave, rate, file.stem):
            place("sounds", name, file.stem, extension).write_bytes(made)


# Texts.

LETTERS = "abcdefghijklmnopqrstuvwxyz"


def slips(share):
    """A letter in `share` of all characters is dropped, doubled, replaced or swapped with the next."""
    def change(text, chance):
        made = []
        for c in text:
            kind = chance.random() / share
            if not c.isalpha() or kind >= 1:
                made.append(c)
            elif kind < 0.25:
                continue
            elif kind < 0.5:
                made += c + c
            elif kind < 0.75:
                made.append(chance.choice(LETTERS))
            else:
                made.insert(max(len(made) - 1, 0), c)
        return "".join(made)
    return change


def sentences(text):
    return [s for s in text.replace("?", ".").replace("!", ".").split(".") if s.strip()]


def without_a_sentence(text, chance):
    parts = sentences(text)
    if len(parts) > 1:
        parts.pop(chance.randrange(len(parts)))
    return ".".join(parts)


def reordered(text, chance):
    parts = sentences(text)
    chance.shuffle(parts)
    return ".".join(parts)


def some_words(share):
    def change(text, chance):
        words = text.split()
        return " ".join(w for w in words if chance.random() >= share)
    return change


TEXTS = {
    "upper case": lambda text, _: text.upper(),
    "no punctuation": lambda text, _: "".join(c for c in text if c.isalnum() or c.isspace()),
    "lines joined": lambda text, _: " ".join(text.split()),
    "typographic quotes": lambda text, _: text.replace("'", "\u2019").replace("--", "\u2014"),
    "slips, 1 % of letters": slips(0.01),
    "slips, 2 % of letters": slips(0.02),
    "slips, 5 % of letters": slips(0.05),
    "a sentence left out": without_a_sentence,
    "sentences reordered": reordered,
    "5 % of words left out": some_words(0.05),
    "20 % of words left out": some_words(0.2),
    "a heading in front": lambda text, _: "From the works of Shakespeare, as they were printed.\n" + text,
    "first half": lambda text, _: text[: len(text) // 2],
}


def texts():
    paragraphs = [p.strip() for p in (DATA / "shakespeare.txt").read_text().replace("\r\n", "\n").split("\n\n")]
    paragraphs = [p for p in paragraphs if len(p.split()) >= 8]
    for n, text in enumerate(paragraphs):
        stem = f"{n:05}"
        place("texts", "original", stem, "txt").write_text(text)
        if n % 9 == 0:  # odd, so that both halves have copies
            for name, change in TEXTS.items():
                place("texts", name, stem, "txt").write_text(change(text, random.Random(f"{name} {stem}")))


# Clips.

CLIPS = {
    "h264, crf 35": ["-c:v", "libx264", "-crf", "35"],
    "h265": ["-c:v", "libx265", "-crf", "30", "-x265-params", "log-level=error"],
    "vp9, quarter size": ["-vf", "scale=iw/4:-2", "-c:v", "libvpx-vp9", "-b:v", "200k"],
    "half size": ["-vf", "scale=iw/2:-2", "-c:v", "libx264", "-crf", "23"],
    "12 frames a second": ["-r", "12", "-c:v", "libx264", "-crf", "23"],
    "brightness": ["-vf", "eq=brightness=0.08:contrast=1.1", "-c:v", "libx264", "-crf", "23"],
    "cropped 5 %": ["-vf", "crop=iw*0.95:ih*0.95", "-c:v", "libx264", "-crf", "23"],
    "mirrored": ["-vf", "hflip", "-c:v", "libx264", "-crf", "23"],
    "last fifth cut off": None,
}


def ffmpeg(*arguments):
    subprocess.run(["ffmpeg", "-loglevel", "error", "-y", "-threads", "1", *map(str, arguments)], check=True)


def duration(path):
    asked = ["ffprobe", "-v", "error", "-show_entries", "format=duration", "-of", "csv=p=0", str(path)]
    return float(subprocess.run(asked, check=True, capture_output=True, text=True).stdout)


def clips():
    """There are few clips: each is cut into pieces of two seconds, which are the originals, and hard ones, for they follow each other."""
    for file in sorted((DATA / "clips").iterdir()):
        whole = duration(file)
        for n in range(min(int(whole // 2), 6)):
            stem = f"{file.stem}_{n}"
            original = place("clips", "original", stem, "mp4")
            ffmpeg("-ss", n * 2, "-i", file, "-t", 2, "-an", "-vf", "scale='min(640,iw)':-2", "-pix_fmt", "yuv420p", "-c:v", "libx264", "-crf", "20", original)
            for name, how in CLIPS.items():
                how = how or ["-t", "1.6", "-c:v", "libx264", "-crf", "23"]
                extension = "webm" if "libvpx-vp9" in how else "mp4"
                ffmpeg("-i", original, "-an", "-pix_fmt", "yuv420p", *how, place("clips", name, stem, extension))


if __name__ == "__main__":
    kinds = {"pictures": pictures, "sounds": sounds, "texts": texts, "clips": clips}
    for kind in sys.argv[3:] or kinds:
        kinds[kind]()
        print(kind, *(f"{p.name}: {len(list(p.iterdir()))}" for p in sorted((OUT / kind).iterdir())), sep="\n  ")
