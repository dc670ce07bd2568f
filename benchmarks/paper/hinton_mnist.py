"""Section 3 of Hinton, Vinyals and Dean 2015 on MNIST, all of its claims.

Question: what does a student gain from a teacher's soft targets, at which
temperature, and what is left of it when the transfer set omits classes?

Parts, each a list of runs that is kept in the work folder and resumed:

  teachers     2 x 1200 units, dropout, max-norm, shifts of up to 2 pixels; 3
               seeds. How long they learn: by the errors on 10,000 held-out
               training images of teachers of the 50,000 others
  tuning       each method's settings, 4 candidates each: students of a teacher
               of those 50,000 images, by their errors on the 10,000
  curve        the same errors of labels alone and of soft targets alone, after
               fewer updates and after more
  students     2 x 800 units on all plain images, each method as tuned; 5 seeds
  omitted      a transfer set without threes, and one of sevens and eights
               alone, before and after shifting the biases; 5 seeds. These
               students see 50,000 images at most; the shifts are found on the
               other 10,000, which they have not seen
  temperature  soft targets alone at 9 temperatures, for 800, 300 and 30 units
               per layer; 5 seeds for 30 units, 3 for the others
  labels       labels alone for the same numbers of units; 5 seeds
  beyond       what the paper does not do: the three teachers together, images
               shifted anew each time for teacher and student, and both; the
               best setting of soft targets alone; 3 seeds

Every student makes the same number of updates, whatever its transfer set, and
those that its last pass over the set needs. The final students learn from all
60,000 training images, but for the part on omitted classes. Test errors are
those after the last update, read once.

Command: KERAS_BACKEND=jax python -m benchmarks.paper.hinton_mnist \\
             --data_dir FOLDER  (of TFDS data; downloaded if left out).
         `--part NAME` runs one part, so that two processes can share the
         work; `--short` takes seconds on scikit-learn's digits and proves
         nothing. To go on from runs of another machine, put its `runs.jsonl`
         into the work folder.
Writes:  benchmarks/results/hinton_mnist.json and hinton_mnist.png, once all
         parts are there; the runs themselves in .work/hinton_mnist.
"""

import pathlib
from dataclasses import asdict
from typing import Any

import numpy as np

from benchmarks.harness import (
    arguments,
    digits,
    draw,
    environment,
    save,
    summary,
)
from benchmarks.paper import mnist
from benchmarks.paper.hinton_mnist_methods import (
    LABELS,
    SHORT,
    SOFT,
    Method,
    Size,
    soft_targets,
)
from benchmarks.paper.hinton_mnist_models import Experiment
from benchmarks.paper.hinton_mnist_omitted import omitted
from benchmarks.paper.hinton_mnist_plot import figure

NAME = "hinton_mnist"
PAPER = {
    "teacher": 67,
    LABELS: 146,
    SOFT: 74,
    "no threes": [206, 133],
    "no threes, shifted": [109, 14],
    "sevens and eights": 0.473,
    "sevens and eights, shifted": 0.132,
}


# Each part returns what the report says of it.


def teachers(experiment: Experiment) -> dict:
    """Held-out errors over updates, and test errors."""
    curve = {
        str(updates): teacher_errors(experiment, 0, False, updates)
        for updates in experiment.size.teacher_curve
    }
    found = summary(
        teacher_errors(experiment, seed)
        for seed in range(experiment.size.teachers)
    )
    return {"held-out errors by updates": curve, "test": found}


def teacher_errors(
    experiment: Experiment,
    seed: int,
    whole: bool = True,
    updates: int | None = None,
) -> int:
    updates = updates or experiment.size.teacher_updates

    def make() -> dict:
        teacher = experiment.teacher(seed, whole, updates)
        data = experiment.test if whole else experiment.held_out
        return {"errors": mnist.errors(teacher, *data)}

    name = "teacher" if whole else "tuning teacher"
    settings = {"seed": seed, "updates": updates}
    name = f"{name} {seed}, {updates} updates"
    return experiment.run(name, settings, make)["errors"]


def tuning(experiment: Experiment) -> dict:
    """Errors on held-out images, of each candidate of each method."""
    return {
        group: {
            str(method): [
                experiment.held_out_errors(method, seed)
                for seed in range(experiment.size.tuning_seeds)
            ]
            for method in methods
        }
        for group, methods in experiment.grid.items()
    }


def chosen(experiment: Experiment) -> dict[str, Method]:
    scores = tuning(experiment)
    return {
        group: min(methods, key=lambda m: sum(scores[group][str(m)]))
        for group, methods in experiment.grid.items()
    }


def curve(experiment: Experiment) -> dict:
    """Held-out errors of the two main methods, by the number of updates."""
    best = chosen(experiment)
    return {
        group: {
            str(updates): experiment.held_out_errors(best[group], 0, updates)
            for updates in experiment.size.curve
        }
        for group in (LABELS, SOFT)
    }


def students(experiment: Experiment) -> dict:
    methods = chosen(experiment)
    units, seeds = experiment.size.units[0], experiment.size.seeds
    errors = experiment.over_seeds(list(methods.values()), units, seeds)
    return {
        name: {"method": str(method)} | summary(errors[method])
        for name, method in methods.items()
    }


def without_classes(experiment: Experiment) -> dict:
    return omitted(experiment, chosen(experiment)[SOFT])


def temperature(experiment: Experiment) -> dict:
    rate = chosen(experiment)[SOFT].learning_rate
    methods = [soft_targets(t, rate) for t in experiment.size.temperatures]
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
    method, seeds = chosen(experiment)[LABELS], experiment.size.seeds
    result = {}
    for units in reversed(experiment.size.units):
        errors = experiment.over_seeds([method], units, seeds)
        result[str(units)] = summary(errors[method])
    return result


def beyond(experiment: Experiment) -> dict:
    """Students of all teachers, of shifted images, and of both."""
    method = chosen(experiment)[SOFT]
    everyone = tuple(range(experiment.size.teachers))
    arms = {
        "three teachers": (everyone, False),
        "shifted images": ((0,), True),
        "three teachers, shifted images": (everyone, True),
    }
    return {
        name: summary(
            beyond_errors(experiment, name, method, *arm, seed)
            for seed in range(experiment.size.teachers)
        )
        for name, arm in arms.items()
    }


def beyond_errors(
    experiment: Experiment,
    name: str,
    method: Method,
    seeds: tuple[int, ...],
    shifted: bool,
    seed: int,
) -> int:
    def make() -> dict:
        units, several = experiment.size.units[0], len(seeds) > 1
        source: dict[str, Any]
        if shifted:
            teacher = (
                experiment.ensemble() if several else experiment.teacher(0)
            )
            source = {"teacher": teacher}
        else:
            source = {"logits": experiment.ensemble_logits}
        model = experiment.student(
            method, units, experiment.train, seed, **source
        )
        return {"errors": mnist.errors(model, *experiment.test)}

    settings = {
        "method": asdict(method),
        "shifted": shifted,
        "updates": experiment.size.updates,
        "seed": seed,
    }
    name = f"{name}, {method}, seed {seed}"
    return experiment.run(name, settings, make, seeds)["errors"]


PARTS = {
    "teachers": teachers,
    "tuning": tuning,
    "curve": curve,
    "students": students,
    "omitted": without_classes,
    "temperature": temperature,
    "labels": labels,
    "beyond": beyond,
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
        "environments of the runs": experiment.runs.environments(),
        "data": "digits" if options.short else "mnist",
        "test_images": len(test[0]),
        "held_out_images": len(experiment.held_out[0]),
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
