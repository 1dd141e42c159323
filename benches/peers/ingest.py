"""CPU time of making a dataset of a folder of pictures in class folders: dsctl under each --check, pyarrow by hand, Hugging Face `datasets`, tf.data into TFRecord, Grain into ArrayRecord.

    python3 benches/peers/ingest.py target/release/dsctl /path/to/clothing [REPEATS]

Prints a Markdown table: CPU (user and system) and wall milliseconds a file, the median and range of the repeats, which are interleaved; each is a process of its own. Of dsctl all of it is
counted; of the others what comes after the imports, which take seconds. dsctl checks, hashes (SHA-256 of shards, XXH3 of payloads) and syncs what it writes; the others do none of these.
`sha256` is hashing the same bytes once with OpenSSL, `fsync` syncing one file of their size, to see what these cost. Needs pyarrow, datasets, tensorflow, grain and array_record; what
cannot be imported is left out, and said.
"""
import importlib.util
import json
import os
import pathlib
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

# What a script begins with once it has imported what it needs, and ends with.
BEGIN = """
import json, resource, time
def spent():
    who = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(w.ru_utime + w.ru_stime for w in who), time.monotonic()
began = spent()
def end():
    print(json.dumps([now - then for now, then in zip(spent(), began)]))
"""
END = "\nend()\n"
BY_HAND = """
import os, sys, pathlib, pyarrow as pa, pyarrow.parquet as pq
""" + BEGIN + """
source, out = map(pathlib.Path, sys.argv[1:])
out.mkdir()
media = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
for split in sorted(p for p in source.iterdir() if p.is_dir()):
    classes = sorted(p.name for p in split.iterdir() if p.is_dir())
    files = [(p, i) for i, c in enumerate(classes) for p in sorted((split / c).iterdir())]
    rows = [{"bytes": p.read_bytes(), "path": p.name} for p, _ in files]
    table = pa.table({"image": pa.array(rows, media), "label": pa.array([i for _, i in files], pa.int64())})
    pq.write_table(table, out / f"{split.name}.parquet", compression="none", use_dictionary=False, row_group_size=256)
""" + END
HF = """
import sys, datasets
datasets.disable_progress_bars()
""" + BEGIN + """
source, out = sys.argv[1:]
for split, data in datasets.load_dataset("imagefolder", data_dir=source, cache_dir=out + "/cache").items():
    data.to_parquet(f"{out}/{split}.parquet")
""" + END
TF = """
import os, pathlib, sys
os.environ.update(TF_CPP_MIN_LOG_LEVEL="3", CUDA_VISIBLE_DEVICES="")
import tensorflow as tf
""" + BEGIN + """
source, out = map(pathlib.Path, sys.argv[1:])
out.mkdir()
def example(image, label):
    features = {
        "image/encoded": tf.train.Feature(bytes_list=tf.train.BytesList(value=[image])),
        "image/class/label": tf.train.Feature(int64_list=tf.train.Int64List(value=[label])),
    }
    return tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString()
for split in sorted(p for p in source.iterdir() if p.is_dir()):
    classes = sorted(p.name for p in split.iterdir() if p.is_dir())
    files = [(str(p), i) for i, c in enumerate(classes) for p in sorted((split / c).iterdir())]
    data = tf.data.Dataset.from_tensor_slices(tuple(map(list, zip(*files))))
    data = data.map(lambda path, label: (tf.io.read_file(path), label), num_parallel_calls=2).prefetch(64)
    with tf.io.TFRecordWriter(str(out / f"{split.name}.tfrecord")) as writer:
        for image, label in data.as_numpy_iterator():
            writer.write(example(image, label))
""" + END
GRAIN = """
import pathlib, struct, sys
import grain
from array_record.python.array_record_module import ArrayRecordWriter
""" + BEGIN + """
source, out = map(pathlib.Path, sys.argv[1:])
out.mkdir()
for split in sorted(p for p in source.iterdir() if p.is_dir()):
    classes = sorted(p.name for p in split.iterdir() if p.is_dir())
    files = [(p, i) for i, c in enumerate(classes) for p in sorted((split / c).iterdir())]
    data = grain.MapDataset.source(files).map(lambda file: struct.pack("<q", file[1]) + file[0].read_bytes())
    writer = ArrayRecordWriter(str(out / f"{split.name}.array_record"), "group_size:1,uncompressed")
    for record in data.to_iter_dataset(grain.ReadOptions(num_threads=2, prefetch_buffer_size=64)):
        writer.write(record)
    writer.close()
""" + END
SHA = """
import sys, hashlib, pathlib
""" + BEGIN + """
digest = hashlib.sha256()
for p in pathlib.Path(sys.argv[1]).rglob("*.jpg"):
    digest.update(p.read_bytes())
""" + END
SYNC = """
import os, sys, pathlib
""" + BEGIN + """
size = sum(p.stat().st_size for p in pathlib.Path(sys.argv[1]).rglob("*.jpg"))
os.makedirs(sys.argv[2])
with open(sys.argv[2] + "/f", "wb") as f:
    f.write(bytes(size))
    f.flush()
    os.fsync(f.fileno())
""" + END


def run(command):
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, errors="replace")
    if done.returncode:
        raise SystemExit(f"{command}: {done.stderr}")
    wall, after = time.monotonic() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    if command[0] == sys.executable:
        return json.loads(done.stdout.splitlines()[-1])
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, wall


def main():
    dsctl, source = sys.argv[1:3]
    repeats = int(sys.argv[3]) if len(sys.argv) > 3 else 5
    files = len(list(pathlib.Path(source).rglob("*.jpg")))
    python = sys.executable
    members = {f"dsctl --check {check}": [dsctl, "ingest", source, "OUT", "--check", check, "--quiet"] for check in ("header", "entropy", "decode")}
    members["dsctl --check header --prepare crop"] = [dsctl, "ingest", source, "OUT", "--check", "header", "--prepare", "crop", "--quiet"]
    members["dsctl --check entropy --prepare crop"] = [dsctl, "ingest", source, "OUT", "--check", "entropy", "--prepare", "crop", "--quiet"]
    members["dsctl again, nothing new"] = [dsctl, "ingest", source, "THERE", "--quiet"]
    members["pyarrow by hand"] = [python, "-c", BY_HAND, source, "OUT"]
    members["datasets, imagefolder to Parquet"] = [python, "-c", HF, source, "OUT"]
    members["tf.data, TFRecord"] = [python, "-c", TF, source, "OUT"]
    members["Grain, ArrayRecord"] = [python, "-c", GRAIN, source, "OUT"]
    for name, module in {"datasets, imagefolder to Parquet": "datasets", "tf.data, TFRecord": "tensorflow", "Grain, ArrayRecord": "array_record"}.items():
        if importlib.util.find_spec(module) is None:
            print(f"{name}: left out, there is no {module}\n")
            del members[name]
    members["(sha256 of the files)"] = [python, "-c", SHA, source]
    members["(fsync of as many bytes)"] = [python, "-c", SYNC, source, "OUT"]
    times = {name: [] for name in members}
    with tempfile.TemporaryDirectory() as folder:
        there = os.path.join(folder, "there")
        run([dsctl, "ingest", source, there, "--quiet"])
        run(["cat", *map(str, pathlib.Path(source).rglob("*.jpg"))])
        for _ in range(repeats):
            for name, command in members.items():
                out = os.path.join(folder, "out")
                times[name].append(run([{"OUT": out, "THERE": there}.get(part, part) for part in command]))
                shutil.rmtree(out, ignore_errors=True)
    print(f"{files} files, {repeats} interleaved repeats, {os.cpu_count()} cores; ms a file, median (range)\n")
    print("| | CPU | wall |\n|---|---|---|")
    for name, all_of in times.items():
        cells = []
        for at in (0, 1):
            values = sorted(v[at] * 1e3 / files for v in all_of)
            cells.append(f"{statistics.median(values):.3f} ({values[0]:.3f} to {values[-1]:.3f})")
        print(f"| {name} | {cells[0]} | {cells[1]} |")


main()
