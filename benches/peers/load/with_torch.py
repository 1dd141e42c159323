"""PyTorch's DataLoader with worker processes. Variants: `pil` decodes and resizes with Pillow, `tensor` with torchvision's own decoder and tensor operations; `hf` is Hugging Face
`datasets` on Parquet, with Pillow. The sound workload is made of torch's operations, as torchaudio is."""
import pathlib
import wave

import torch
from torch.utils.data import DataLoader, Dataset

from common import FLOOR, HOP, MEAN, N_FFT, PAD, RATIO, SCALE, SHORT, SIDE, STD, TILE, doubling, files, mel_filters

LOADED = ["torch"]


def version():
    import importlib.metadata as metadata
    return ", ".join(f"{name} {torch.__version__ if name == 'torch' else metadata.version(name)}" for name in LOADED)


def augmented(workload, pil):
    from torchvision.transforms import InterpolationMode, v2
    LOADED.append("torchvision")
    if pil:
        LOADED.append("pillow")
    steps = {
        "crop": [v2.RandomResizedCrop(SIDE, SCALE, RATIO, InterpolationMode.BILINEAR, antialias=True), v2.RandomHorizontalFlip()],
        "center": [v2.Resize(SHORT, InterpolationMode.BILINEAR, antialias=True), v2.CenterCrop(SIDE)],
        "cifar": [v2.RandomCrop(TILE, padding=PAD), v2.RandomHorizontalFlip()],
    }[workload]
    return v2.Compose(steps + ([v2.ToImage()] if pil else []) + [v2.ToDtype(torch.float32, scale=True), v2.Normalize(MEAN, STD, inplace=True)])


class Pictures(Dataset):
    def __init__(self, job):
        self.paths, self.labels = files(job)
        self.pil = job["variant"] == "pil"
        self.steps = augmented(job["workload"], self.pil)

    def __len__(self):
        return len(self.paths)

    def __getitem__(self, at):
        if self.pil:
            from PIL import Image
            with open(self.paths[at], "rb") as file:
                picture = Image.open(file).convert("RGB")
        else:
            from torchvision.io import ImageReadMode, decode_jpeg, read_file
            picture = decode_jpeg(read_file(self.paths[at]), ImageReadMode.RGB)
        return self.steps(picture), self.labels[at]


class Sounds(Dataset):
    def __init__(self, job):
        self.paths, self.labels = files(job)
        taps, self.half = doubling()
        self.taps, self.filters, self.window = torch.from_numpy(taps.T.copy())[:, None], torch.from_numpy(mel_filters().T.copy()), torch.hann_window(N_FFT)

    def __len__(self):
        return len(self.paths)

    def __getitem__(self, at):
        with wave.open(self.paths[at]) as file:
            sound = torch.frombuffer(bytearray(file.readframes(file.getnframes())), dtype=torch.int16).float() / 32768
        both = torch.nn.functional.conv1d(sound[None, None], self.taps, padding=self.half)
        power = torch.stft(both[0].T.reshape(-1), N_FFT, HOP, N_FFT, self.window, center=True, pad_mode="reflect", return_complex=True).abs().square()
        return (self.filters @ power).clamp_min(FLOOR).log(), self.labels[at]


def padded(samples):
    import math
    lengths = [sound.shape[1] for sound, _ in samples]
    out = torch.full((len(samples), samples[0][0].shape[0], max(lengths)), math.log(FLOOR))
    for at, (sound, _) in enumerate(samples):
        out[at, :, : lengths[at]] = sound
    return out, torch.tensor([label for _, label in samples])


def parquet(job):
    return str(pathlib.Path(job["folder"], "all.parquet"))


def features():
    import datasets
    return datasets.Features({"image": datasets.Image(), "label": datasets.Value("int64")})


def make(job):
    if job["variant"] == "hf":
        import pyarrow
        import pyarrow.parquet
        paths, labels = files(job)
        media = pyarrow.struct([("bytes", pyarrow.binary()), ("path", pyarrow.string())])
        rows = [{"bytes": pathlib.Path(path).read_bytes(), "path": None} for path in paths]
        table = pyarrow.table({"image": pyarrow.array(rows, media), "label": pyarrow.array(labels, pyarrow.int64())})
        pyarrow.parquet.write_table(table, parquet(job), compression="none", row_group_size=256)
        loaded(job)


def loaded(job):
    import datasets
    datasets.disable_progress_bars()
    return datasets.load_dataset("parquet", data_files=parquet(job), features=features(), cache_dir=str(pathlib.Path(job["folder"], "cache")), split="train")


def hugging(job):
    LOADED.append("datasets")
    steps = augmented(job["workload"], True)
    return loaded(job).with_transform(lambda rows: {"image": [steps(image.convert("RGB")) for image in rows["image"]], "label": rows["label"]})


def opened(job):
    collate = None
    if job["workload"] == "audio":
        data, collate = Sounds(job), padded
    elif job["variant"] == "hf":
        data = hugging(job)
    else:
        data = Pictures(job)
    loader = DataLoader(data, job["batch"], shuffle=True, drop_last=True, num_workers=job["threads"], persistent_workers=True, collate_fn=collate)

    def epoch():
        for batch in loader:
            yield batch["image"] if isinstance(batch, dict) else batch[0]

    return epoch
