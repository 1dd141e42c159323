"""Loading the same batches with dsctl and with other loaders: a Markdown table for each workload.

    python3 benches/peers/load.py --dsctl target/release/dsctl --work FOLDER --install      # once: a virtual environment in FOLDER with all peers, 9 GB
    FOLDER/venv/bin/python benches/peers/load.py --dsctl target/release/dsctl --work FOLDER [--only crop,center] [--peers dsctl,dali] [--repeats 5] [--epochs K] [--check]

Workloads: crop, center, cifar, raw, audio, text. Peers: dsctl, dali, tf, ffcv, torch, grain, hf, numpy, streaming, and memory (what pixels cost without a loader). All that is made goes below FOLDER, once; dsctl's datasets anew for another build of it.

Each contestant is a process of its own with two threads or two workers; repeats are interleaved, their order turned around from one to the next. A contestant imports, opens, loads warm-up
epochs, and then measures whole epochs (K of them, or more until a second is over): CPU time, user and system, of its process and all below it (`load/child.py`). dsctl is a command that ends: it
runs for 1 epoch and for 1 + K (a mixture of the one dataset that repeats), and the difference is taken. A cell is the median and, in brackets, least and greatest. Memory is of the whole life of the
processes: the greatest sum of what is resident (RSS; pages that processes share count in each), and of their proportional parts (PSS), polled; mapped files are in both.

--check does not measure: it prints what the values of an epoch are like (of dsctl those of `--dump`). FFCV is compiled when it is installed and wants libopencv-dev and libturbojpeg0-dev; FFCV_LIBS
names the folder of these libraries where they are not in the system's place.
"""
import argparse
import array
import dataclasses
import datetime
import hashlib
import json
import math
import os
import pathlib
import platform
import shutil
import signal
import statistics
import struct
import subprocess
import sys
import tempfile
import threading
import time

HERE = pathlib.Path(__file__).resolve().parent
REPOSITORY = HERE.parents[1]
SHARED = REPOSITORY.parent / "shared" / "data"
THREADS = 2
TIMEOUT = 900

NORMALIZE = '{ op = "normalize", mean = [0.485, 0.456, 0.406], std = [0.229, 0.224, 0.225] }, { op = "to", layout = "nchw" }'
FLIP = '{ op = "horizontal_flip" }'
RECIPES = {
    "crop": f'[columns.image]\nops = [{{ op = "random_resized_crop", size = 224 }}, {FLIP}, {NORMALIZE}]\n[columns.label]\n',
    "center": f'[columns.image]\nops = [{{ op = "resize", size = 256 }}, {{ op = "center_crop", size = 224 }}, {NORMALIZE}]\n[columns.label]\n',
    "cifar": f'[columns.image]\nops = [{{ op = "random_crop", size = 32, padding = 4 }}, {FLIP}, {NORMALIZE}]\n[columns.label]\n',
    "raw": f"[columns.image]\nops = [{NORMALIZE}]\n[columns.label]\n",
    "audio": '[columns.audio]\nops = [{ op = "resample", rate = 16000 }, { op = "log_mel", n_fft = 400, hop = 160, n_mels = 80 }]\n[columns.label]\n',
    "text": "[columns.text]\n",
}
PACK = 'pack = { column = "text", length = 2048 }\n'


@dataclasses.dataclass
class Member:
    """A contestant in a workload: what it is called, who it is (`--peers`), which module and variant, and what it does not do alike. Of dsctl the variant is a dataset."""

    name: str
    peer: str
    differs: str
    variant: str = ""
    recipe: str = ""


@dataclasses.dataclass
class Workload:
    title: str
    unit: str
    batch: int
    epochs: int
    members: list


FILES = "one file a photo"
CROPS = "its crops (sample_distorted_bounding_box) are smaller: 36 % of a photo of 400 x 533, those of the others 43 %"
HAND = "resampled by a FIR of 6 zero crossings, made by hand of convolutions"
WORKLOADS = {
    "crop": Workload("JPEG photos, random resized crop 224, flip, f32 NCHW, batch 64", "photo", 64, 3, [
        Member("dsctl", "dsctl", "", "photos", "crop"),
        Member("dsctl, `--prepare crop`", "dsctl", "the crop index was made at ingest", "prepared", "crop"),
        Member("dsctl, `--prepare resize:320,95+crop`", "dsctl", "photos made smaller and encoded anew at ingest; with the crop index", "smaller", "crop"),
        Member("dsctl, `--prepare resize:256,90+crop`", "dsctl", "the same, smaller", "smallest", "crop"),
        Member("DALI, CPU", "dali", FILES),
        Member("tf.data, antialias", "tf", CROPS + "; not rounded to u8; TFRecord; shuffles in a buffer that holds all"),
        Member("tf.data, no antialias", "tf", "does less: no antialiasing, and TensorFlow's default, less exact DCT; " + CROPS, "plain"),
        Member("FFCV", "ffcv", "photos encoded anew at quality 70 (as many bytes); fast DCT; resize by OpenCV's INTER_AREA; decodes whole photos"),
        Member("torchvision v2, tensors", "torch", FILES + ", decoded whole by decode_jpeg; 2 processes", "tensor"),
        Member("torchvision v2, Pillow", "torch", FILES + ", decoded whole; 2 processes", "pil"),
        Member("Grain, Pillow", "grain", "ArrayRecord; decoded whole; Python's threads"),
        Member("HF datasets, Pillow", "hf", "Arrow cache of Parquet; torchvision v2; decoded whole; 2 processes", "hf"),
    ]),
    "center": Workload("JPEG photos, shorter side 256, center crop 224, f32 NCHW, batch 64", "photo", 64, 3, [
        Member("dsctl", "dsctl", "", "photos", "center"),
        Member("dsctl, `--prepare crop`", "dsctl", "the crop index was made at ingest", "prepared", "center"),
        Member("DALI, CPU", "dali", FILES),
        Member("tf.data, antialias", "tf", "the resize is not rounded to u8; TFRecord"),
        Member("tf.data, no antialias", "tf", "does less: no antialiasing, and TensorFlow's default, less exact DCT", "plain"),
        Member("FFCV", "ffcv", "photos encoded anew at quality 70 (as many bytes); fast DCT; resizes only the crop, by OpenCV's INTER_AREA"),
        Member("torchvision v2, tensors", "torch", FILES + "; 2 processes", "tensor"),
        Member("torchvision v2, Pillow", "torch", FILES + "; 2 processes", "pil"),
        Member("Grain, Pillow", "grain", "ArrayRecord; Python's threads"),
        Member("HF datasets, Pillow", "hf", "Arrow cache of Parquet; torchvision v2; 2 processes", "hf"),
    ]),
    "cifar": Workload("10,000 JPEGs of 32 x 32, padded by 4, random crop 32, flip, f32 NCHW, batch 256", "tile", 256, 3, [
        Member("dsctl", "dsctl", "", "tiles", "cifar"),
        Member("DALI, CPU", "dali", "one file a tile"),
        Member("tf.data", "tf", "TFRecord; normalised a batch at a time"),
        Member("FFCV", "ffcv", "tiles encoded anew at quality 95; fast DCT; the shift by -4 to 4 is RandomTranslate"),
        Member("torchvision v2, tensors", "torch", "one file a tile; 2 processes", "tensor"),
        Member("torchvision v2, Pillow", "torch", "one file a tile; 2 processes", "pil"),
        Member("Grain, Pillow", "grain", "ArrayRecord; crop and flip by NumPy; 2 processes"),
        Member("HF datasets, Pillow", "hf", "Arrow cache of Parquet; 2 processes", "hf"),
    ]),
    "raw": Workload("Pixels of 224 x 224, u8 as stored, to f32 NCHW, batch 64, shuffled", "picture", 64, 5, [
        Member("dsctl, `--store raw`", "dsctl", "stored NHWC", "squares", "raw"),
        Member("NumPy, memory map", "numpy", "stored NCHW; 1 thread, nothing prefetched; no labels, no ids; the file is in its RSS"),
        Member("NumPy, one batch reused", "numpy", "the same, and each batch is overwritten by the next", "reused"),
        Member("FFCV, raw", "ffcv", "stored NHWC; the file is in its RSS"),
        Member("memory alone", "memory", "no loader: as many bytes read in random order, and written past the caches"),
    ]),
    "audio": Workload("WAV of 8 kHz, resampled to 16 kHz, 80-bin log-mel, padded batches of 32", "recording", 32, 10, [
        Member("dsctl", "dsctl", "resampled by FFT, aliases below -170 dB", "sounds", "audio"),
        Member("DALI, CPU", "dali", "one file a recording; resampled by a sinc of 16 lobes"),
        Member("tf.data, tf.signal", "tf", "TFRecord; " + HAND),
        Member("torch", "torch", "one file a recording; " + HAND + "; torch.stft, 2 processes"),
    ]),
    "text": Workload("Stored token ids in rows of 2,048, i64, batch 16, shuffled", "row", 16, 3, [
        Member("dsctl, 20 documents", "dsctl", "cuts documents of 345,000 tokens while it loads; segments, positions and ids, too", "wholes", "text"),
        Member("dsctl, 144,440 documents", "dsctl", "fits documents of 48 tokens into rows while it loads; segments, positions and ids, too", "tokens", "text"),
        Member("NumPy, memory map", "numpy", "rows cut beforehand wherever they end, tokens alone; 1 thread, nothing prefetched"),
        Member("NumPy, three memory maps", "numpy", "the same with segments and positions, made beforehand, too", "three"),
        Member("mosaicml-streaming", "streaming", "rows cut beforehand, tokens alone; 2 processes"),
    ]),
}
MODULES = {"dali": "with_dali", "tf": "with_tf", "torch": "with_torch", "hf": "with_torch", "grain": "with_grain", "ffcv": "with_ffcv", "numpy": "with_numpy", "memory": "with_memory", "streaming": "with_streaming"}
INSTALLS = {
    "data": ["numpy", "pillow"],
    "dali": ["nvidia-dali-cuda120"],
    "tf": ["tensorflow-cpu"],
    "torch": ["torch", "torchvision"],
    "grain": ["grain", "array-record"],
    "hf": ["datasets"],
    "ffcv": ["ffcv"],
}


class Failed(Exception):
    """A contestant is not there, or did not do it."""

    def __str__(self):
        text = super().__str__()[:300].replace("|", "/")
        return text if text.startswith("not installed") else f"failed: {text}"


def last_line(text):
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "no message"


class Watch(threading.Thread):
    """Polls the memory of all processes of a session."""

    def __init__(self, session):
        super().__init__(daemon=True)
        self.session, self.over, self.rss, self.pss = session, threading.Event(), 0, 0

    def members(self):
        for entry in os.listdir("/proc"):
            if entry.isdigit():
                try:
                    if os.getsid(int(entry)) == self.session:
                        yield entry
                except OSError:
                    pass

    def pss_of(self, pid):
        with open(f"/proc/{pid}/smaps_rollup") as lines:
            return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:")), 0)

    def run(self):
        page, turn = os.sysconf("SC_PAGESIZE"), 0
        while not self.over.wait(0.05):
            rss, pss = 0, 0
            for pid in self.members():
                try:
                    rss += int(pathlib.Path(f"/proc/{pid}/statm").read_text().split()[1]) * page
                    pss += self.pss_of(pid) if turn % 4 == 0 else 0
                except OSError:
                    pass
            self.rss, self.pss, turn = max(self.rss, rss), max(self.pss, pss), turn + 1


def end(session):
    """Ends a contestant, and workers that it left behind."""
    try:
        os.killpg(session, signal.SIGKILL)
    except ProcessLookupError:
        pass


def run(command, environment=None):
    """Runs a command in a session of its own. Its output, CPU and wall seconds, and greatest memory (RSS, PSS)."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        began = time.monotonic()
        child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=err, start_new_session=True, env=environment)
        late = threading.Timer(TIMEOUT, end, [child.pid])
        watch = Watch(child.pid)
        try:
            late.start()
            watch.start()
            _, status, usage = os.wait4(child.pid, 0)
            wall = time.monotonic() - began
            child.returncode = os.waitstatus_to_exitcode(status)
        finally:
            late.cancel()
            watch.over.set()
            watch.join()
            end(child.pid)
        out.seek(0)
        err.seek(0)
        stdout, stderr = out.read().decode(errors="replace"), err.read().decode(errors="replace")
    if child.returncode:
        raise Failed(f"timed out after {TIMEOUT} s" if wall >= TIMEOUT else last_line(stderr or stdout))
    return stdout, usage.ru_utime + usage.ru_stime, wall, (max(watch.rss, usage.ru_maxrss * 1024), watch.pss)


class Bench:
    def __init__(self, options):
        self.options, self.work = options, pathlib.Path(options.work).resolve()
        binary = pathlib.Path(options.dsctl)
        stat = binary.stat()
        self.build = hashlib.sha256(f"{binary.resolve()} {stat.st_size} {stat.st_mtime_ns}".encode()).hexdigest()[:12]
        # A copy, which stays the same when somebody builds while this runs.
        copy = self.work / f"dsctl-{self.build}"
        for old in self.work.glob("dsctl-*"):
            if old != copy:
                old.unlink()
        if not copy.exists():
            shutil.copy2(binary, copy.with_suffix(".part"))
            copy.with_suffix(".part").rename(copy)
        self.dsctl = str(copy)
        self.versions = {self.dsctl_version(): None}

    def once(self, folder, make):
        """Makes a folder of data, unless it was made."""
        done = folder.with_name(folder.name + ".done")
        if not done.exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            make()
            done.touch()

    # Contestants in Python.

    def python(self, peer):
        apart = pathlib.Path(sys.prefix + "-" + peer, "bin", "python")
        return str(apart) if apart.exists() else sys.executable

    def child(self, action, workload, module, member=None, **more):
        peer, variant = (member.peer, member.variant) if member else ("data", "")
        job = {
            "action": action, "module": module, "workload": workload, "variant": variant, "data": str(self.data(workload)), "folder": str(self.folder(workload, peer)),
            "photos": str(self.options.photos), "sounds": str(self.options.sounds), "text": str(self.options.text), "threads": THREADS, "batch": WORKLOADS[workload].batch, **more,
        }
        environment = dict(os.environ, HF_HUB_OFFLINE="1", HF_HOME=str(self.work / "huggingface"), PYTHONDONTWRITEBYTECODE="1", OMP_NUM_THREADS=str(THREADS), TOKENIZERS_PARALLELISM="false")
        if peer == "ffcv" and os.environ.get("FFCV_LIBS"):
            environment["LD_LIBRARY_PATH"] = os.environ["FFCV_LIBS"]
        try:
            stdout, _, _, memory = run([self.python(peer), str(HERE / "load" / "child.py"), json.dumps(job)], environment)
        except Failed as failed:
            raise Failed(("not installed: " if "ModuleNotFoundError" in failed.args[0] else "") + failed.args[0]) from None
        results = [line for line in stdout.splitlines() if line.startswith("RESULT ")]
        if not results:
            raise Failed("ended without a result")
        return {**json.loads(results[-1][7:]), "memory": memory}

    def data(self, workload):
        return self.work / ("photos" if workload in ("crop", "center") else workload) / "data"

    def folder(self, workload, peer):
        return self.work / ("photos" if workload in ("crop", "center") else workload) / peer

    def shared(self, workload):
        self.once(self.data(workload), lambda: self.child("make", workload, "data"))

    # dsctl.

    def dsctl_version(self):
        return run([self.dsctl, "--version"])[0].strip()

    def datasets(self, workload):
        return self.folder(workload, f"dsctl-{self.build}")

    def ingest(self, source, dataset, *flags):
        run([self.dsctl, "ingest", str(source), str(dataset), "--quiet", "--progress", "none", *flags])

    def dataset(self, workload, name):
        """Makes a dataset, and says where it is."""
        folder, data = self.datasets(workload) / name, self.data(workload)
        make = {
            "photos": lambda: self.ingest(self.options.photos, folder),
            "prepared": lambda: self.ingest(self.options.photos, folder, "--prepare", "crop"),
            "smaller": lambda: self.ingest(self.options.photos, folder, "--prepare", "resize:320,95+crop"),
            "smallest": lambda: self.ingest(self.options.photos, folder, "--prepare", "resize:256,90+crop"),
            "tiles": lambda: self.ingest(data / "tiles", folder),
            "squares": lambda: self.ingest(data / "squares", folder, "--store", "raw"),
            "sounds": lambda: self.ingest(self.options.sounds, folder, "--label-regex", r"^(?P<label>\d)_"),
            "tokens": lambda: self.tokens(data / "texts", folder, "paragraph"),
            "wholes": lambda: self.tokens(data / "texts", folder, "file"),
        }[name]
        for old in self.datasets(workload).parent.glob("dsctl-*"):
            if old.name != self.datasets(workload).name:
                shutil.rmtree(old)
        self.once(folder, make)
        return folder

    def tokens(self, texts, dataset, unit):
        tokenizer = dataset.with_name(f"{unit}.json")
        plain = dataset.with_name("plain")
        shutil.rmtree(plain, ignore_errors=True)
        tokenizer.unlink(missing_ok=True)
        self.ingest(texts / "00.txt", plain, "--text-unit", "paragraph")
        run([self.dsctl, "tokenizer", "train", str(plain), str(tokenizer), "--vocab-size", "4096", "--quiet"])
        self.ingest(texts, dataset, "--text-unit", unit, "--tokenize", str(tokenizer))

    def token_rows(self):
        """The tokens of dsctl's dataset, one text behind the other, cut into rows, for those who read such."""
        out = self.data("text") / "tokens.npy"
        if not out.exists():
            dataset = self.dataset("text", "tokens")
            recipe = self.work / "text" / "order.toml"
            recipe.write_text('order = "sequential"\ntail = "pad"\nbatch = 16\npack = { column = "text", length = 2048, fit = "greedy" }\n[columns.text]\n')
            dump = self.work / "text" / "tokens.safetensors"
            dump.unlink(missing_ok=True)
            run([self.dsctl, "load", str(dataset), "--recipe", str(recipe), "--dump", str(dump), "--quiet", "--progress", "none"])
            ids, numbers, places = (array.array("H") for _ in range(3))
            before = number = place = 0
            for text, segments in zip(tensors(dump, "text"), tensors(dump, "text_segments")):
                for at, (token, segment) in enumerate(zip(array.array("q", text[1]), array.array("q", segments[1]))):
                    if not segment:
                        continue
                    # Another document; or another row, whose first segment has the number of the last one's.
                    fresh = segment != before or at % 2048 == 0
                    before = segment
                    number, place = (number + fresh if len(ids) % 2048 else 1), (0 if fresh or len(ids) % 2048 == 0 else place + 1)
                    ids.append(token), numbers.append(number), places.append(place)
            dump.unlink()
            rows = len(ids) // 2048
            header = f"{{'descr': '<u2', 'fortran_order': False, 'shape': ({rows}, 2048), }}"
            header += " " * (-(len(header) + 11) % 64) + "\n"
            for values, name in ((places, "positions"), (numbers, "segments"), (ids, "tokens")):
                part = out.with_suffix(".part")
                part.write_bytes(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode() + values[: rows * 2048].tobytes())
                part.rename(out.with_name(f"{name}.npy"))

    def rows(self, dataset):
        stdout, _, _, _ = run([self.dsctl, "ls", str(dataset), "--json"])
        return json.loads(stdout)["rows"]

    def recipe(self, workload, member, dataset, epochs):
        """A recipe of so many epochs: one dataset that is repeated."""
        batch, samples = WORKLOADS[workload].batch, self.rows(dataset) * epochs
        text = f'batch = {batch}\nseed = 7\ntail = "drop"\n' + (PACK if workload == "text" else "")
        text += f'[sources.all]\ndataset = "{dataset}"\nweight = 1\n[mixture]\nexhausted = "repeat"\nsamples = {samples}\n' + RECIPES[member.recipe]
        path = self.datasets(workload) / f"{member.variant}-{member.recipe}-{epochs}.toml"
        path.write_text(text)
        return path

    def dsctl_run(self, workload, member, epochs):
        recipe = self.recipe(workload, member, self.dataset(workload, member.variant), epochs)
        stdout, cpu, wall, memory = run([self.dsctl, "load", "--recipe", str(recipe), "--threads", str(THREADS), "--json", "--progress", "none"])
        return json.loads(stdout)["samples"], cpu, wall, memory

    def dsctl_measure(self, workload, member, epochs):
        one, more = self.dsctl_run(workload, member, 1), self.dsctl_run(workload, member, 1 + epochs)
        return {"samples": more[0] - one[0], "cpu": more[1] - one[1], "wall": more[2] - one[2], "memory": tuple(max(pair) for pair in zip(one[3], more[3]))}

    def dsctl_look(self, workload, member):
        recipe = self.recipe(workload, member, self.dataset(workload, member.variant), 1)
        dump = self.datasets(workload) / "look.safetensors"
        dump.unlink(missing_ok=True)
        run([self.dsctl, "load", "--recipe", str(recipe), "--threads", str(THREADS), "--dump", str(dump), "--quiet", "--progress", "none"])
        column = {"audio": "audio", "text": "text"}.get(workload, "image")
        result = self.child("look", workload, "with_dump", member, dump=str(dump), column=column)
        dump.unlink()
        return result

    # Both.

    def make(self, workload, member):
        self.shared(workload)
        if workload == "text":
            self.token_rows()
        if member.peer == "dsctl":
            self.dataset(workload, member.variant)
        else:
            self.once(self.folder(workload, member.peer), lambda: self.child("make", workload, MODULES[member.peer], member))

    def measure(self, workload, member, epochs):
        if member.peer == "dsctl":
            return self.dsctl_measure(workload, member, epochs)
        result = self.child("measure", workload, MODULES[member.peer], member, epochs=epochs, warmup=1, seconds=1.0)
        self.versions.update(dict.fromkeys(result["version"].split(", ")))
        return result

    def epochs(self, workload, member):
        """As many epochs as were asked for, of dsctl so many that the difference is a second of CPU time."""
        least = self.options.epochs or WORKLOADS[workload].epochs
        if member.peer != "dsctl" or self.options.epochs:
            return least
        first = self.dsctl_measure(workload, member, least)
        return max(least, math.ceil(least * 1.0 / max(first["cpu"], 0.01)))

    def table(self, workload):
        """Runs a workload, and prints its table."""
        what, failed, results, epochs = WORKLOADS[workload], {}, {}, {}
        members = [member for member in what.members if not self.options.peers or member.peer in self.options.peers]
        for member in members:
            try:
                self.make(workload, member)
                epochs[member.name] = self.epochs(workload, member)
            except Failed as error:
                failed[member.name] = str(error)
        load = os.getloadavg()[0]
        for repeat in range(self.options.repeats):
            for member in members if repeat % 2 == 0 else members[::-1]:
                if member.name not in failed:
                    try:
                        results.setdefault(member.name, []).append(self.measure(workload, member, epochs[member.name]))
                        self.say(workload, member, results[member.name][-1])
                    except Failed as error:
                        failed[member.name] = str(error)
        print(f"### {workload}: {what.title}\n")
        print(f"{self.options.repeats} interleaved repeats, {THREADS} threads or workers each; load average at the start {load:.2f}.\n")
        print(f"| | CPU ms a {what.unit} | {what.unit}s/s | peak MiB, RSS | peak MiB, PSS | what differs |\n|---|---|---|---|---|---|")
        for member in members:
            if member.name in failed:
                print(f"| {member.name} | {failed[member.name]} | | | | {member.differs} |")
                continue
            all_of = results[member.name]
            cells = [
                cell([run["cpu"] * 1e3 / run["samples"] for run in all_of]), cell([run["samples"] / run["wall"] for run in all_of], 0),
                cell([run["memory"][0] / 2**20 for run in all_of], 0), cell([run["memory"][1] / 2**20 for run in all_of], 0),
            ]
            print(f"| {member.name} | {' | '.join(cells)} | {member.differs} |")
        print(flush=True)

    def look(self, workload):
        """Prints what the values of each contestant are like."""
        what = WORKLOADS[workload]
        print(f"### {workload}: {what.title}\n\n| | first batch | type | samples | mean | deviation | least | greatest |\n|---|---|---|---|---|---|---|---|")
        for member in what.members:
            if member.peer == "memory" or self.options.peers and member.peer not in self.options.peers:
                continue
            try:
                self.make(workload, member)
                seen = self.dsctl_look(workload, member) if member.peer == "dsctl" else self.child("look", workload, MODULES[member.peer], member)
                numbers = " | ".join(f"{seen[name]:.4f}" for name in ("mean", "std", "least", "most"))
                print(f"| {member.name} | {seen['shape']} | {seen['dtype']} | {seen['samples']} | {numbers} |", flush=True)
            except Failed as error:
                print(f"| {member.name} | {error} | | | | | | |", flush=True)
        print()

    def say(self, workload, member, result):
        print(f"{workload}, {member.name}: {result['cpu'] * 1e3 / result['samples']:.3f} ms", file=sys.stderr, flush=True)


def tensors(path, column):
    """Of a file of safetensors, a column of each batch in order: shape and bytes."""
    with open(path, "rb") as file:
        size = struct.unpack("<Q", file.read(8))[0]
        header = json.loads(file.read(size))
        place = lambda name: [int(part) for part in name.partition("/")[0].split(":")]  # BATCH, or WINDOW:BATCH where there are several
        for name in sorted((name for name in header if name.partition("/")[2] == column), key=place):
            entry = header[name]
            begin, end = entry["data_offsets"]
            file.seek(8 + size + begin)
            yield entry["shape"], file.read(end - begin)


def cell(values, digits=None):
    """The median, least and greatest. Unless told, with so many digits that the median has three."""
    values = sorted(values)
    if digits is None:
        digits = 3 if statistics.median(values) >= 0.1 else 4 if statistics.median(values) >= 0.01 else 5
    return f"{statistics.median(values):.{digits}f} ({values[0]:.{digits}f} to {values[-1]:.{digits}f})"


def install(options):
    """A virtual environment with all peers, and one beside it for streaming, whose requirements are at odds with those of `datasets`; then this script again, in it."""
    venv = pathlib.Path(options.work).resolve() / "venv"
    pip = [str(venv / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    if not venv.exists():
        subprocess.run([sys.executable, "-m", "venv", str(venv)], check=True)
    for peer, packages in INSTALLS.items():
        if peer == "data" or not options.peers or peer in options.peers:
            print(f"installing {' '.join(packages)}", file=sys.stderr)
            if subprocess.run(pip + packages, stdout=sys.stderr).returncode:
                print(f"{peer} was not installed", file=sys.stderr)
    apart = pathlib.Path(str(venv) + "-streaming")
    if not apart.exists() and (not options.peers or "streaming" in options.peers):
        subprocess.run([sys.executable, "-m", "venv", str(apart)], check=True)
        for packages in apart.glob("lib/python*/site-packages"):
            for theirs in venv.glob("lib/python*/site-packages"):
                (packages / "zz-main.pth").write_text(f"{theirs}\n")
        print("installing mosaicml-streaming", file=sys.stderr)
        subprocess.run([str(apart / "bin" / "python"), *pip[1:], "mosaicml-streaming"], stdout=sys.stderr)
    arguments = [argument for argument in sys.argv if argument != "--install"]
    os.execv(pip[0], [pip[0], *arguments])


def main():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    names = lambda text: text.split(",")
    parser = argparse.ArgumentParser(description="Loading the same batches with dsctl and with other loaders.")
    parser.add_argument("--dsctl", required=True)
    parser.add_argument("--work", default=str(pathlib.Path(tempfile.gettempdir(), "feedstock-peers")))
    parser.add_argument("--only", type=names, default=list(WORKLOADS))
    parser.add_argument("--peers", type=names, default=[])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=0)
    parser.add_argument("--photos", type=pathlib.Path, default=SHARED / "clothing")
    parser.add_argument("--sounds", type=pathlib.Path, default=SHARED / "spoken-digits")
    parser.add_argument("--text", type=pathlib.Path, default=SHARED / "shakespeare.txt")
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--install", action="store_true")
    options = parser.parse_args()
    known = {"dsctl", *MODULES}
    if unknown := [name for name in options.only if name not in WORKLOADS] + [name for name in options.peers if name not in known]:
        parser.error(f"{', '.join(unknown)}: workloads are {', '.join(WORKLOADS)}; peers are {', '.join(sorted(known))}")
    os.makedirs(options.work, exist_ok=True)
    if options.install:
        install(options)
    bench = Bench(options)
    for workload in options.only:
        bench.look(workload) if options.check else bench.table(workload)
    if not options.check:
        model = next((line.partition(":")[2].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), platform.machine())
        print(f"{datetime.date.today()}, {model}, {os.cpu_count()} cores, Linux {platform.release()}, Python {platform.python_version()}; {', '.join(sorted(bench.versions, key=str.lower))}.")


main()
