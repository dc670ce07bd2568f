"""Transfer sets that lack classes, and their biases shifted."""

from dataclasses import asdict

import numpy as np

import keras_distill as kd
from benchmarks.harness import summary
from benchmarks.paper.hinton_mnist_methods import Method
from benchmarks.paper.hinton_mnist_models import Experiment

# The classes that are there, and those whose biases are shifted: one amount for
# each entry, and for each class if there is no list.
OMISSIONS: dict[str, tuple[list, dict]] = {
    "no threes": (
        [digit for digit in range(10) if digit != 3],
        {"3": [3], "each class": None},
    ),
    "sevens and eights": ([7, 8], {"7 and 8": [[7, 8]], "each class": None}),
}


def omitted(experiment: Experiment, method: Method) -> dict:
    """What the report says of each transfer set, before and after shifts."""
    result = {}
    for name, (present, shifts) in OMISSIONS.items():
        runs = [
            experiment.run(
                f"{name}, {method}, seed {seed}",
                {
                    "method": asdict(method),
                    "updates": experiment.size.updates,
                    "seed": seed,
                },
                lambda p=present, s=shifts, seed=seed: omission(
                    experiment, method, p, s, seed
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
    experiment: Experiment,
    method: Method,
    present: list,
    shifts: dict,
    seed: int,
) -> dict:
    """Test errors of a student that never saw some of the classes."""
    x, y = experiment.kept
    rows = np.isin(y, present)
    student = experiment.student(
        method,
        experiment.size.units[0],
        (x[rows], y[rows]),
        seed,
        logits=experiment.logits[experiment.kept_rows][rows],
    )
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
