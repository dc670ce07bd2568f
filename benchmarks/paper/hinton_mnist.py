"""Section 3 of Hinton, Vinyals and Dean 2015 on MNIST, all of its claims.

Question: what does a student gain from a teacher's soft targets, at which
temperature, and what is left of it when the transfer set omits classes?

Parts, each a list of runs that is kept in the work folder and resumed:

  tuning       every choice: students of a teacher of 50,000 training images,
               by their errors on the 10,000 others
  teachers     2 x 1200 units, dropout, max-norm, shifts of up to 2 pixels; 1
               seed, as a teacher takes as long as 15 students
  students     2 x 800 units on the plain images: labels alone, soft targets
               alone at T = 20, and what the tuning chose of soft targets,
               soft targets with labels, TTM and WTTM; 5 seeds
  longer       soft targets alone at T = 20 for 5 times as many epochs; 1 seed
  temperature  soft targets alone at 9 temperatures, for 800, 300 and 30 units
               per layer; 5 seeds for 30 units, 3 for the others
  labels       labels alone for the same numbers of units, at the learning
               rate that was chosen for 800; 5 seeds
  omitted      a transfer set without threes, and one of sevens and eights
               alone, before and after shifting the biases; 5 seeds. These
               students see 50,000 images at most; the shifts are found on the
               other 10,000

Students learn for the same number of epochs with the same optimiser, from
cached logits. The final runs use all 60,000 training images, but for the part
on omitted classes. Test errors are those after the last epoch, read once.

Command: KERAS_BACKEND=jax python -m benchmarks.paper.hinton_mnist \\
             --data_dir FOLDER  (of TFDS data; downloaded if left out).
         `--part NAME` runs one part, so that two processes can share the
         work; `--short` takes seconds on scikit-learn's digits and proves
         nothing.
Minutes: about 75 on 2 cores: teachers 15, students 1 each, those of 300 and 30
         units 10 and 5 seconds. Two processes with a `--part` each take less.
Expect:  errors of 10,000: teacher 71, labels alone 145, soft targets at T = 20
         108 (92 in one longer run), and no method below 105; without threes
         217, of them 117 threes, and 154 and 22 after one shift; of sevens and
         eights alone 72 % wrong, 32 % after a common shift, 19 % after one for
         each class. The best temperature is lower for smaller students.
Writes:  benchmarks/results/hinton_mnist.json and hinton_mnist.png, once all
         parts are there; the runs themselves in .work/hinton_mnist.
"""

import pathlib
from dataclasses import asdict
from typing import Any

import numpy as np

import keras_distill as kd
from benchmarks.harness import (
    arguments,
    digits,
    draw,
    environment,
    save,
    summary,
)
from benchmarks.paper import mnist
from benchmarks.paper.hinton_mnist_models import (
    PAPERS,
    SHORT,
    Experiment,
    Method,
    Size,
)
from benchmarks.paper.hinton_mnist_plot import figure

NAME = "hinton_mnist"
PAPER = {
    "teacher": 67,
    "labels alone": 146,
    "soft targets alone, T = 20": 74,
    "no threes": [206, 133],
    "no threes, shifted": [109, 14],
    "sevens and eights": 0.473,
    "sevens and eights, shifted": 0.132,
}


# Each part returns what the report says of it.


def tuning(experiment: Experiment) -> dict:
    """Errors on held-out images, and the best of each method."""
    scores = {}
    for group, methods in experiment.grid.items():
        scores[group] = {
            str(method): [
                held_out_errors(experiment, method, seed)
                for seed in range(experiment.size.tuning_seeds)
            ]
            for method in methods
        }
    teacher = experiment.run(
        "tuning teacher",
        {},
        lambda: {
            "errors": mnist.errors(
                experiment.teacher(0, whole=False), *experiment.held_out
            )
        },
    )
    return {"teacher": teacher["errors"], "students": scores}


def held_out_errors(experiment: Experiment, method: Method, seed: int) -> int:
    def make() -> dict:
        units, logits = experiment.size.units[0], experiment.tuning_logits
        model = experiment.student(method, units, experiment.kept, logits, seed)
        return {"errors": mnist.errors(model, *experiment.held_out)}

    settings = {"method": asdict(method), "seed": seed}
    return experiment.run(f"tuning {method} {seed}", settings, make)["errors"]


def chosen(experiment: Experiment) -> dict[str, Method]:
    scores = tuning(experiment)["students"]
    return {
        group: min(methods, key=lambda m: sum(scores[group][str(m)]))
        for group, methods in experiment.grid.items()
    }


def teachers(experiment: Experiment) -> dict:
    found = [
        experiment.run(
            f"teacher {seed}",
            {"seed": seed},
            lambda seed=seed: {
                "errors": mnist.errors(
                    experiment.teacher(seed), *experiment.test
                )
            },
        )
        for seed in range(experiment.size.teachers)
    ]
    return summary(run["errors"] for run in found)


def students(experiment: Experiment) -> dict:
    methods = {"soft targets alone, T = 20": PAPERS} | chosen(experiment)
    units, seeds = experiment.size.units[0], experiment.size.seeds
    errors = experiment.over_seeds(list(methods.values()), units, seeds)
    return {
        name: {"method": str(method)} | summary(errors[method])
        for name, method in methods.items()
    }


def longer(experiment: Experiment) -> dict:
    size = experiment.size
    return summary(
        experiment.tested(PAPERS, size.units[0], seed, size.longer)["errors"]
        for seed in range(size.longer_seeds)
    )


def temperature(experiment: Experiment) -> dict:
    methods = [Method("SoftTargets", t) for t in experiment.size.temperatures]
    result = {}
    sizes = zip(experiment.size.units, experiment.size.sweep_seeds, strict=True)
    for units, seeds in reversed(list(sizes)):
        errors = experiment.over_seeds(methods, units, seeds)
        result[str(units)] = {
            f"{method.temperature:g}": summary(errors[method])
            for method in methods
        }
    return result


def labels(experiment: Experiment) -> dict:
    method, seeds = chosen(experiment)["labels alone"], experiment.size.seeds
    result = {}
    for units in reversed(experiment.size.units):
        errors = experiment.over_seeds([method], units, seeds)
        result[str(units)] = summary(errors[method])
    return result


def omitted(experiment: Experiment) -> dict:
    omissions = {
        "no threes": (
            [digit for digit in range(10) if digit != 3],
            {"3": [3], "each class": None},
        ),
        "sevens and eights": (
            [7, 8],
            {"7 and 8": [[7, 8]], "each class": None},
        ),
    }
    result = {}
    for name, (present, shifts) in omissions.items():
        runs = [
            experiment.run(
                f"{name} {seed}",
                {"seed": seed},
                lambda p=present, s=shifts, seed=seed: omission(
                    experiment, p, s, seed
                ),
            )
            for seed in range(experiment.size.seeds)
        ]
        result[name] = {
            row: {
                key: summary(run[row][key] for run in runs)
                for key in runs[0][row]
            }
            for row in runs[0]
        }
    return result


def omission(
    experiment: Experiment, present: list, shifts: dict, seed: int
) -> dict:
    """Test errors of a student that never saw some of the classes."""
    order = np.random.default_rng(0).permutation(len(experiment.train[0]))
    rows = order[: len(experiment.kept[0])]
    rows = rows[np.isin(experiment.train[1][rows], present)]
    x, y = experiment.train[0][rows], experiment.train[1][rows]
    logits = experiment.logits[rows]
    units = experiment.size.units[0]
    student = experiment.student(PAPERS, units, (x, y), logits, seed)
    result = {"as trained": experiment.by_class(student, present)}
    for name, classes in shifts.items():
        for objective in ("accuracy", "likelihood"):
            amount = kd.bias.fit_bias(
                student, experiment.held_out, classes, objective=objective
            )
            shifted = kd.bias.shift_bias(student, classes, amount)
            row = experiment.by_class(shifted, present)
            if len(amount) == 1:
                row["shift"] = float(amount[0])
            result[f"{name}, {objective}"] = row
    frequencies = np.bincount(experiment.train[1], minlength=10)
    amount = kd.bias.match_class_frequencies(
        student, experiment.held_out[0], frequencies
    )
    shifted = kd.bias.shift_bias(student, None, amount)
    result["frequencies, no labels"] = experiment.by_class(shifted, present)
    return result


PARTS = {
    "tuning": tuning,
    "teachers": teachers,
    "students": students,
    "longer": longer,
    "temperature": temperature,
    "labels": labels,
    "omitted": omitted,
}


def load(short: bool, data_dir: str | None) -> tuple:
    if not short:
        return mnist.load("train", data_dir), mnist.load("test", data_dir)
    x, y = digits()
    # Eight by eight pixels in the middle of an image as large as MNIST's.
    images = np.pad(x.reshape(-1, 8, 8), ((0, 0), (10, 10), (10, 10)))
    x = images.reshape(len(x), -1)
    return (x[:1200], y[:1200]), (x[1200:], y[1200:])


def run(options: Any) -> dict | None:
    """The result, if all parts were asked for."""
    train, test = load(options.short, options.data_dir)
    size = SHORT if options.short else Size()
    experiment = Experiment(size, train, test, pathlib.Path(options.work))
    found = {part: PARTS[part](experiment) for part in options.part or PARTS}
    if options.part:
        return None
    return {
        "environment": environment("tensorflow-datasets"),
        "data": "digits" if options.short else "mnist",
        "test_images": len(test[0]),
        "size": asdict(size),
        "paper": PAPER,
        **found,
    }


def main() -> None:
    part = {"choices": list(PARTS), "action": "append"}
    options = arguments(__doc__, NAME, "data_dir", "work", "plot", part=part)
    if not options.plot:
        result = run(options)
        if result is None:
            return
        save(NAME, result, options.out)
    draw(NAME, figure, options.out)


if __name__ == "__main__":
    main()
