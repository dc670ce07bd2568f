"""What finding confusable classes costs, and whether it finds them.

Question: time and memory of kd.specialists.confusable_classes as the number of
classes grows to that of the paper, 15,000 with 61 specialists of 300 classes,
and how many of the known groups of classes it finds.

Arms: 1,000 classes in 61 groups, sets of 20; 15,000 classes in 61 groups, sets
of 300 (the paper's sizes). Each once with classes that are all as frequent, and
once with frequencies that fall as 1 / rank (Zipf). And 1,000 classes in
disjoint sets.

The predictions are made up, batch by batch, in float32: an example has a class,
to which most of its probability goes (how much is given), and most of the rest
to half of its group, 32 classes at most, drawn for each example: a sparse,
peaked softmax. Nothing larger than a batch is held but what confusable_classes
itself holds.

A group counts as found if one set has at least 95 % of its classes; the mean
share of a group that its best set has is given too. Of a class that the
examples never show nothing can be known; the shares are also given for the
classes of which there were at least five examples.

Each arm runs in a process of its own, whose peak resident memory (with Python,
Keras and scikit-learn, given too) is reported. The time to make the predictions
is left out.

Command: KERAS_BACKEND=jax OMP_NUM_THREADS=1 taskset -c 1 \\
             python -m benchmarks.speed.confusable_classes
Minutes: about 8 on 1 core. `--short` takes seconds and proves little.
Writes:  benchmarks/results/confusable_classes.json
"""

import argparse
import json
import os
import resource
import time
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

import keras_distill as kd
from benchmarks.harness import arguments, environment, in_a_process, save

NAME = "confusable_classes"

# A multiple of the 512 rows that one update takes, so that the work on the
# covariance is over when the last batch has been read.
BATCH = 512
NEIGHBOURS = 32
FOUND = 0.95


class Arm(NamedTuple):
    classes: int
    groups: int
    size: int | None
    examples: int
    zipf: float = 0.0


ARMS = {
    "1,000 classes": Arm(1000, 61, 20, 10 * BATCH),
    "1,000 classes, Zipf": Arm(1000, 61, 20, 40 * BATCH, 1.0),
    "1,000 classes, disjoint": Arm(1000, 61, None, 10 * BATCH),
    "15,000 classes": Arm(15_000, 61, 300, 40 * BATCH),
    "15,000 classes, Zipf": Arm(15_000, 61, 300, 40 * BATCH, 1.0),
}
SHORT = {"60 classes": Arm(60, 6, 12, 4 * BATCH)}


class Predictions:
    """Batches of made-up predictions, with the time spent on either side."""

    def __init__(self, arm: Arm) -> None:
        self.arm = arm
        self.rng = np.random.default_rng(0)
        ordered = np.arange(arm.classes) % arm.groups
        self.groups = self.rng.permutation(ordered)
        self.members = [
            np.flatnonzero(self.groups == group) for group in range(arm.groups)
        ]
        frequency = 1.0 / np.arange(1, arm.classes + 1) ** arm.zipf
        self.frequency = self.rng.permutation(frequency / frequency.sum())
        self.seen = np.zeros(arm.classes, int)
        self.reading = 0.0
        self.exhausted = 0.0

    def __iter__(self) -> Iterator[np.ndarray]:
        for _ in range(self.arm.examples // BATCH):
            batch = self.batch()
            start = time.perf_counter()
            yield batch
            self.reading += time.perf_counter() - start
        self.exhausted = time.perf_counter()

    def batch(self) -> np.ndarray:
        shape = BATCH, self.arm.classes
        own = self.rng.choice(self.arm.classes, BATCH, p=self.frequency)
        self.seen += np.bincount(own, minlength=self.arm.classes)
        logits = self.rng.standard_normal(shape, "float32")
        rows = np.arange(BATCH)
        scale = np.float32(np.log(self.arm.classes))
        for row, label in zip(rows, own, strict=True):
            others = self.members[self.groups[label]]
            count = min(NEIGHBOURS, len(others) // 2)
            logits[row, self.rng.choice(others, count, False)] += scale
        logits[rows, own] += scale + 3.0
        p = np.exp(logits)
        return p / p.sum(axis=1, keepdims=True)


def peak_mb() -> float:
    kilobytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(kilobytes / 1024, 1)


def shares(sets: list[list[int]], data: Predictions, least: int) -> dict:
    """Of each group, how much its best set has of its often seen classes."""
    known = set(np.flatnonzero(data.seen >= least).tolist())
    groups = [known & set(members.tolist()) for members in data.members]
    best = [
        max(len(group.intersection(found)) for found in sets) / len(group)
        for group in groups
        if group
    ]
    return {
        "classes": len(known),
        "groups found": round(float(np.mean(np.array(best) >= FOUND)), 3),
        "mean share of a group": round(float(np.mean(best)), 3),
    }


def measure(arm: Arm) -> dict:
    before = peak_mb()
    data = Predictions(arm)
    found = kd.specialists.confusable_classes(data, arm.groups, arm.size)
    clustering = time.perf_counter() - data.exhausted
    return {
        **arm._asdict(),
        "top probability": round(float(data.batch().max(axis=1).mean()), 3),
        "covariance, seconds per 1,000 examples": round(
            1000 * data.reading / arm.examples, 3
        ),
        "clustering, seconds": round(clustering, 2),
        "peak resident MB": peak_mb(),
        "of which before": before,
        "one covariance matrix, MB": round(arm.classes**2 * 8 / 2**20, 1),
        "sets": len(found.class_sets),
        "all classes": shares(found.class_sets, data, 0),
        "classes of 5 examples or more": shares(found.class_sets, data, 5),
    }


def main() -> None:
    options = arguments(__doc__, NAME, arm={"help": argparse.SUPPRESS})
    if options.arm:
        print(json.dumps(measure((ARMS | SHORT)[options.arm])))
        return
    results = {}
    for name in SHORT if options.short else ARMS:
        done = in_a_process(f"benchmarks.speed.{NAME}", "--arm", name)
        results[name] = json.loads(done)
        print(f"{name}: {results[name]}", flush=True)
    used = len(os.sched_getaffinity(0))
    where = environment("scikit-learn", "scipy") | {"cores used": used}
    output = {"environment": where, "arms": results}
    print(save(NAME, output, options.out))


if __name__ == "__main__":
    main()
