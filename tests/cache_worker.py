"""Builds that are killed or run side by side; see test_cache_durability.py.

Keras is imported once. Each build runs in a fork, whose backend starts anew.
"""

import json
import os
import signal
import sys
import time
import traceback
from pathlib import Path

import keras
import numpy as np

import keras_distill as kd

BATCH, SHARDS = 2, 150
KILLS, WORKERS = 20, 3
OPTIONS = {"batch_size": BATCH, "shard_examples": BATCH, "verbose": 0}


class Slow(keras.utils.PyDataset):
    """As slow to read as it takes for kills to land within a build."""

    def __init__(self, seconds=0.0):
        super().__init__()
        self.seconds, self.reads = seconds, []
        rng = np.random.default_rng(0)
        self.x = rng.normal(size=(BATCH * SHARDS, 4)).astype("float32")

    def __len__(self):
        return SHARDS

    def __getitem__(self, index):
        time.sleep(self.seconds)
        self.reads.append(index)
        return (self.x[BATCH * index : BATCH * (index + 1)],)


class Teacher(keras.Model):
    """Costs nothing to make, to compile and to run."""

    def __init__(self):
        super().__init__()
        self.built, self.supports_jit = True, False

    def call(self, inputs):
        return inputs[:, :3]


def build(folder, dataset=None):
    return kd.TeacherCache.build(
        Teacher(), dataset or Slow(), folder, **OPTIONS
    )


def fork(run):
    """Runs a function in a process of its own, and returns its number."""
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        run()
        code = 0
    except BaseException:
        traceback.print_exc()
    os._exit(code)


def names(folder):
    return sorted(path.name for path in Path(folder).glob("*"))


def kill(folder):
    """Kills a build again and again; returns what was there each time."""
    rng = np.random.default_rng(0)
    seen = []
    for _ in range(KILLS):
        goal = len(names(folder)) + rng.integers(1, 5)
        child = fork(lambda: build(folder, Slow(seconds=0.004)))
        while len(names(folder)) < goal:
            if os.waitpid(child, os.WNOHANG) != (0, 0):
                return seen  # This machine is so busy that it was too fast.
        time.sleep(rng.uniform(0, 0.008))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        seen.append(names(folder))
    assert os.waitpid(fork(lambda: build(folder)), 0)[1] == 0
    return seen


def part(number, folder):
    """The part of a worker."""
    kd.TeacherCache.build_part(
        Teacher(),
        Slow(),
        folder,
        worker=number,
        num_workers=WORKERS,
        **OPTIONS,
    )


def whole(number, folder):
    """All of it, and then what is there."""
    assert len(build(folder)) == BATCH * SHARDS


def at_once(folder, make):
    """Runs all workers at once."""
    start, go = os.pipe()

    def work(number):
        os.close(go)
        os.read(start, 1)  # Returns when the parent closes the other end.
        make(number, folder)

    children = [fork(lambda n=n: work(n)) for n in range(WORKERS)]
    os.close(go)
    codes = [os.waitpid(child, 0)[1] for child in children]
    assert codes == [0] * WORKERS


def spare_the_forks():
    """Keeps them from what takes longer than the builds."""
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        tf.config.run_functions_eagerly(True)
    else:
        sys.modules["tensorflow"] = None  # Keras would look for it.


if __name__ == "__main__":
    spare_the_forks()
    folder = Path(sys.argv[1])
    at_once(folder / "parts", part)
    at_once(folder / "whole", whole)
    print(json.dumps(kill(folder / "killed")))
