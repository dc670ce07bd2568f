"""Specialists distilled back into one net, which Hinton et al. 2015 left open.

Question: how large must one net be to keep what specialists add to their
generalist, what does it cost beside them, and are their soft targets better for
it than labels?

    KERAS_BACKEND=jax python -m benchmarks.paper.specialists_distilled
        --data_dir FOLDER
    KERAS_BACKEND=jax python -m benchmarks.paper.specialists_distilled --short

The short one downloads nothing.

The task, the generalist of 8 units and the specialists are those of
`specialists.py`, with the setting that was chosen there. The students have one
layer of 8 to 64 units and start from scratch: the generalist's weights fit 8
units alone.

Arms, for each of 3 seeds and each size, with as many updates:

- labels of all 150,000 pairs;
- soft targets for all pairs, no labels;
- soft targets and labels, for all pairs;
- labels of a tenth of the pairs, and no others;
- soft targets for all pairs, and labels of that tenth.

The specialists have learned from all labels in each arm. For each arm as many
settings are tried with seed 0, on 20,000 pairs of 10,000 held-out training
images: for labels the weight decay, for soft targets the temperature, for both
the temperature, the weight of the labels and the decay; and a scale of logits.
Three of the sizes are tuned, with 6,000 updates of 500 pairs; the others take
the setting of the nearest. The tested students make 12,000; those of the chosen
settings of the smallest and the largest size also 3,000 to 24,000, to see
whether they have converged.

Logits are 10 times what the last layer gives, or as they are; its weights can
take over the factor afterwards. Without it, labels have not converged with 8
units after 24,000 updates, and low temperatures, whose logits are scaled too,
look better than they are: some arms are run both ways, for comparison.

The cost of a student is its multiplications for one pair, which are those by
its weights; of the specialists, those of the generalist and of the specialists
that are active for a test pair on average, without what eq. (5) takes.

About two and a half hours on one core. Finished runs are kept in --work, and an
interrupted benchmark goes on where it stopped; `--seeds N` is content with the
first N.
Writes results/specialists_distilled.json and, accuracy over cost and over
updates, results/specialists_distilled.png.
"""

import math
from collections.abc import Iterable
from dataclasses import asdict, replace
from typing import Any

from benchmarks.harness import (
    Runs,
    arguments,
    draw,
    environment,
    save,
    summary,
)
from benchmarks.paper import pairs
from benchmarks.paper.specialists_distilled_models import (
    ARMS,
    SCALED,
    SHORT,
    Method,
    Size,
    Students,
    multiplications,
)
from benchmarks.paper.specialists_distilled_plot import figure

NAME = "specialists_distilled"


def tune(students: Students) -> dict:
    """Held-out accuracy of each candidate of each arm and size."""
    size = students.size

    def tried(name: str, units: int) -> dict:
        arm = ARMS[name]
        return {
            str(method): students.accuracy(
                "held_out", units, method, arm.tenth, size.tuning_updates
            )
            for method in arm.candidates[: size.candidates]
        }

    return {
        name: {str(units): tried(name, units) for units in size.tuned_units}
        for name in ARMS
    }


def best(tuned: dict, name: str, units: int) -> Method:
    """The best on held-out pairs at the nearest size that was tuned."""
    by_size = tuned[name]
    nearest = min(by_size, key=lambda other: abs(math.log(int(other) / units)))
    tried = by_size[nearest]
    methods = {str(method): method for method in ARMS[name].candidates}
    return methods[max(tried, key=tried.get)]


def curve(students: Students, tuned: dict) -> dict:
    """Held-out accuracy of the chosen settings over the updates of a run."""
    size = students.size
    return {
        str(units): {
            name: {
                str(updates): students.accuracy(
                    "held_out",
                    units,
                    best(tuned, name, units),
                    arm.tenth,
                    updates,
                )
                for updates in size.curve
            }
            for name, arm in ARMS.items()
        }
        for units in size.curve_units
    }


def scaled(students: Students) -> dict:
    """Held-out accuracy of the smallest students by the scale of logits."""
    size = students.size
    return {
        str(method): students.accuracy(
            "held_out", min(size.units), method, False, size.tuning_updates
        )
        for method in SCALED
    }


def tested(students: Students, tuned: dict) -> dict:
    """The teacher of one seed, and test accuracies by size and arm."""
    size = students.size

    def accuracy(units: int, name: str) -> float:
        method, tenth = best(tuned, name, units), ARMS[name].tenth
        return students.accuracy("test", units, method, tenth, size.updates)

    return {
        "teacher": students.teacher(),
        "accuracies": {
            units: {name: accuracy(units, name) for name in ARMS}
            for units in size.units
        },
    }


def of_size(units: int, tests: list[dict], tuned: dict, features: int) -> dict:
    """The students of one size: what they cost, know and keep."""
    teachers = [test["teacher"] for test in tests]
    network = pairs.network(features, units)
    arms = {}
    for name in ARMS:
        accuracies = [test["accuracies"][units][name] for test in tests]
        arms[name] = {
            "method": asdict(best(tuned, name, units)),
            "accuracy": summary(accuracies),
            "gain kept": summary(kept(accuracies, teachers)),
        }
    return {
        "multiplications": multiplications(network),
        "parameters": network.count_params(),
        "arms": arms,
    }


def kept(accuracies: list[float], teachers: list[dict]) -> Iterable[float]:
    """Shares of what the specialists add to their generalist."""
    for accuracy, teacher in zip(accuracies, teachers, strict=True):
        start = teacher["generalist"]
        yield (accuracy - start) / (teacher["specialists"] - start)


def gathered(found: list[dict]) -> dict:
    """Each number over the seeds."""
    return {name: summary(one[name] for one in found) for name in found[0]}


def run(options: Any) -> dict:
    size = SHORT if options.short else Size()
    size = replace(size, seeds=options.seeds or size.seeds)
    runs = Runs(options.work)
    data = pairs.load(options.short, options.data_dir)
    seeds = [Students(size, data, runs, seed) for seed in range(size.seeds)]
    tuned = tune(seeds[0])
    tests = [tested(students, tuned) for students in seeds]
    features = seeds[0].train[0].shape[1]
    return {
        "environment": environment("scikit-learn"),
        "data": "pairs of digits" if options.short else "pairs of MNIST digits",
        "size": asdict(size),
        "held-out accuracy": tuned,
        "curve": curve(seeds[0], tuned),
        "scale": scaled(seeds[0]),
        "teacher": gathered([test["teacher"] for test in tests]),
        "students": {
            str(units): of_size(units, tests, tuned, features)
            for units in size.units
        },
    }


def main() -> None:
    seeds = {"type": int, "help": "the first so many"}
    options = arguments(__doc__, NAME, "data_dir", "work", "plot", seeds=seeds)
    if not options.plot:
        print(save(NAME, run(options), options.out))
    draw(NAME, figure, options.out)


if __name__ == "__main__":
    main()
