"""MosaicML Streaming on local shards of rows of tokens, through a DataLoader with worker processes."""
import pathlib

import numpy as np
import streaming
from torch.utils.data import DataLoader


def version():
    import torch
    return f"mosaicml-streaming {streaming.__version__}, torch {torch.__version__}"


def make(job):
    tokens = np.load(pathlib.Path(job["data"], "tokens.npy"), mmap_mode="r")
    with streaming.MDSWriter(out=str(pathlib.Path(job["folder"], "mds")), columns={"tokens": "ndarray:uint16"}) as out:
        for row in tokens:
            out.write({"tokens": np.array(row)})


class Rows(streaming.StreamingDataset):
    def __getitem__(self, at):
        return super().__getitem__(at)["tokens"].astype(np.int64)


def opened(job):
    streaming.base.util.clean_stale_shared_memory()
    data = Rows(local=str(pathlib.Path(job["folder"], "mds")), shuffle=True, shuffle_seed=7, batch_size=job["batch"])
    loader = DataLoader(data, job["batch"], drop_last=True, num_workers=job["threads"], persistent_workers=True)
    return lambda: loader
