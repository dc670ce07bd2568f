"""Builds by processes of JAX over which a teacher is spread.

They must run the same batches in the same order: each waits for the others in
each batch, and would wait for ever, or mix theirs with another of its own.
"""

import json
import zlib
from typing import Any

import numpy as np

from keras_distill._keras import processes


def require_same(dataset: dict[str, Any], options: tuple) -> None:
    """Refuses datasets that differ in what a plan tells of them."""
    described = json.dumps([dataset, options], sort_keys=True).encode()
    other = processes.first_other([zlib.crc32(described)])
    if other is not None:
        raise ValueError(
            "A teacher that is spread over processes computes each batch in "
            "all of them together. Received: in process "
            f"{other} another dataset or other options than in process 0. "
            "Pass the whole dataset in each process, in the same order and "
            "batches, and the same arguments."
        )


def require_one_part(worker: int, num_workers: int) -> None:
    """Refuses workers that differ."""
    parts = processes.gathered([worker, num_workers]).tolist()
    if any(part != parts[0] for part in parts):
        raise ValueError(
            "A teacher that is spread over processes computes each batch in "
            "all of them together, so that they are one worker. Received: "
            f"workers {[worker for worker, _ in parts]} in processes 0 to "
            f"{len(parts) - 1}. Call kd.TeacherCache.build in all of them, or "
            "build_part with the same `worker`; several jobs may be several "
            "workers."
        )


def missing_anywhere(missing: list[int], shards: int) -> list[int]:
    """The shards that some process lacks, each of which may have a folder.

    One folder may grow for another process while this one looks.
    """
    lacks = np.zeros(shards, "uint32")
    lacks[missing] = 1
    return np.flatnonzero(processes.gathered(lacks).any(axis=0)).tolist()
