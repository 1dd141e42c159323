"""A contestant's process. Started by ../load.py with a job as JSON; its last line on stdout is the result as JSON behind "RESULT ".

A contestant is a module `with_NAME.py` with `make(job)`, which makes the files that it reads (once), `opened(job)`, which returns a function that gives the batches of one epoch, and
`version()`. A batch is an array or a tensor whose first axis is samples.
"""
import importlib
import json
import os
import pathlib
import resource
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).parent))


def processes():
    """Of every process in this one's session, and of their descendants: (pid, clock ticks of it and of the children that it waited for)."""
    session, all_of = os.getsid(0), {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                with open(f"/proc/{entry}/stat", "rb") as stat:
                    fields = stat.read().rsplit(b")", 1)[1].split()
            except OSError:
                continue
            all_of[int(entry)] = (int(fields[1]), int(fields[3]), sum(map(int, fields[11:15])))
    ours, more = {pid for pid, (_, sid, _) in all_of.items() if sid == session}, True
    while more:
        more = {pid for pid, (parent, _, _) in all_of.items() if parent in ours and pid not in ours}
        ours |= more
    return {pid: all_of[pid][2] for pid in ours}


def cpu():
    """CPU seconds, user and system, of this process and all below it. Its own are exact, those of others in ticks of 10 ms."""
    ticks = sum(ticks for pid, ticks in processes().items() if pid != os.getpid()) / os.sysconf("SC_CLK_TCK")
    own = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return ticks + sum(usage.ru_utime + usage.ru_stime for usage in own)


def array(batch):
    """A batch as NumPy's array."""
    import numpy as np
    return np.asarray(batch)


def look(job, epoch):
    """What the values of an epoch are like."""
    import numpy as np
    samples, count, total, squares, least, most, first = 0, 0, 0.0, 0.0, np.inf, -np.inf, None
    for batch in epoch():
        values = array(batch)
        first = first or (list(values.shape), str(values.dtype))
        wide = values.astype(np.float64)
        samples, count = samples + values.shape[0], count + values.size
        total, squares, least, most = total + wide.sum(), squares + (wide * wide).sum(), min(least, wide.min()), max(most, wide.max())
    mean = total / count
    return {"shape": first[0], "dtype": first[1], "samples": samples, "mean": mean, "std": (squares / count - mean * mean) ** 0.5, "least": float(least), "most": float(most)}


def measure(job, epoch):
    for _ in range(job["warmup"]):
        for _ in epoch():
            pass
    epochs, samples, batches, shape = 0, 0, 0, None
    began, before = time.monotonic(), cpu()
    while epochs < job["epochs"] or time.monotonic() - began < job["seconds"]:
        for batch in epoch():
            samples, batches, shape = samples + int(batch.shape[0]), batches + 1, [int(side) for side in batch.shape]
        epochs += 1
    wall, spent = time.monotonic() - began, cpu() - before
    return {"cpu": spent, "wall": wall, "samples": samples, "batches": batches, "epochs": epochs, "shape": shape}


def main():
    job = json.loads(sys.argv[1])
    module = importlib.import_module(job["module"])
    if job["action"] == "make":
        made = module.make(job)
        result = {"made": True, "note": made}
    else:
        epoch = module.opened(job)
        result = (look if job["action"] == "look" else measure)(job, epoch)
        result["version"] = module.version()
    print("RESULT " + json.dumps(result), flush=True)
    # Threads and workers of some contestants take long to be wound up, or hang.
    os._exit(0)


if __name__ == "__main__":
    main()
