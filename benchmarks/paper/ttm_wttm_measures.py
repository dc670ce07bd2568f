"""What the TTM and WTTM studies measure of a student, and how they choose."""

from collections.abc import Callable, Iterable
from dataclasses import asdict
from typing import Any

import keras

import keras_distill as kd
from benchmarks.harness import summary
from benchmarks.paper import mnist
from benchmarks.paper.ttm_wttm_arms import Method

Scores = dict[str, float]


def diagnosed(
    distiller: kd.Distiller, data: tuple, temperature: float
) -> Scores:
    """The entries of `kd.callbacks.Diagnostics` after the last update.

    Args:
        distiller: A trained one.
        data: Inputs with the teacher's logits, and labels.
        temperature: Of the teacher in the divergences.
    """
    watch = kd.callbacks.Diagnostics(None, data, temperature=temperature)
    watch.set_model(distiller)
    watch.on_train_begin()
    found: Scores = {}
    watch.on_epoch_end(0, found)
    return found


def held_out_scores(
    distiller: kd.Distiller, data: tuple, temperature: float
) -> Scores:
    """Errors on held-out images, and what the terms do there."""
    x, y = data
    wrong = mnist.errors(distiller.student, x.inputs, y)
    return {
        "held-out errors": wrong,
        **diagnosed(distiller, data, temperature),
    }


def test_scores(student: keras.Model, held_out: tuple, test: tuple) -> Scores:
    """On test images, also after a temperature was fitted on others."""
    temperature = kd.bias.fit_temperature(student, held_out)
    scaled = kd.bias.scale_logits(student, 1 / temperature)
    # In the teacher's place: one pass measures both.
    found = kd.evaluate_fidelity(
        student, scaled, test, batch_size=1000, verbose=0
    )
    return {
        "errors": round((1 - found["teacher_accuracy"]) * len(test[1])),
        "nll": found["teacher_nll"],
        "ece": found["teacher_ece"],
        "fitted temperature": temperature,
        "nll, calibrated": found["student_nll"],
        "ece, calibrated": found["student_ece"],
    }


def tried(
    candidates: Iterable[Method], seeds: int, errors: Callable
) -> dict[str, list[int]]:
    """Held-out errors `errors(method, seed)` of each candidate."""
    return {
        str(method): [errors(method, seed) for seed in range(seeds)]
        for method in candidates
    }


def best(candidates: Iterable[Method], scores: dict[str, list[int]]) -> Method:
    """The one of the fewest held-out errors."""
    return min(candidates, key=lambda method: sum(scores[str(method)]))


def summaries(runs: list[Scores]) -> dict[str, Any]:
    """Each number over the seeds."""
    return {name: summary(run[name] for run in runs) for name in runs[0]}


def reported(method: Method, runs: list[Scores]) -> dict[str, Any]:
    """What the report says of a method."""
    settings = {"method": str(method), "settings": asdict(method)}
    return settings | summaries(runs)
