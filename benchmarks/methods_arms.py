"""The losses that `methods.py` compares, and what is tried of each."""

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras

import keras_distill as kd

Values = dict[str, Any]
Make = Callable[[Values], Any]
LABELS, SOFT_TARGETS = "labels", "SoftTargets"


@dataclass(frozen=True)
class Arm:
    """One way to train a student.

    Attributes:
        name: What it is called in the report.
        space: Names of what is tuned, each with the values that are tried. All
            combinations are: as many for each arm.
        objective: Makes arguments of `kd.Distiller` of values.
    """

    name: str
    space: dict[str, list]
    objective: Callable[[Values], dict[str, Any]]

    def settings(self) -> list[Values]:
        names = list(self.space)
        combined = itertools.product(*self.space.values())
        return [dict(zip(names, values, strict=True)) for values in combined]


def _objective(
    loss: keras.losses.Loss, hard: float, soft: float, features: Any = ()
) -> dict[str, Any]:
    return {
        "distillation_loss": loss,
        "hard_loss_weight": hard,
        "soft_loss_weight": soft,
        "feature_losses": features,
    }


def _arm(name: str, objective: Callable[[Values], dict], **space: list) -> Arm:
    return Arm(name, space | {"l2": [1e-3, 3e-3]}, objective)


def _shared(name: str, make: Make, **space: list) -> Arm:
    """Labels and teacher share a weight of 1."""

    def objective(v: Values) -> dict:
        return _objective(make(v), v["hard"], 1 - v["hard"])

    return _arm(name, objective, **space, hard=[0.1, 0.5])


def _beside(name: str, make: Make, **space: list) -> Arm:
    """The labels have the weight 1, the teacher what is tried."""

    def objective(v: Values) -> dict:
        return _objective(make(v), 1.0, v.get("soft", 1.0))

    return _arm(name, objective, **space)


def _tempered(name: str, *arguments: str) -> Make:
    """A loss of the temperature, and of others that are tried."""
    names = ("temperature", *arguments)
    return lambda v: getattr(kd.losses, name)(**{n: v[n] for n in names})


def _features(
    name: str, make: Callable[[], keras.losses.Loss], *weights: float
) -> list[Arm]:
    """Features of the last maps beside the labels, and beside soft targets."""

    def features(v: Values) -> list[kd.losses.Feature]:
        place = "late/map"
        return [kd.losses.Feature(place, place, make(), weight=v["weight"])]

    def alone(v: Values) -> dict:
        return _objective(kd.losses.SoftTargets(1.0), 1.0, 0.0, features(v))

    def with_logits(v: Values) -> dict:
        return _objective(kd.losses.SoftTargets(8.0), 0.5, 0.5, features(v))

    tried = {"weight": list(weights)}
    return [
        _arm(name, alone, **tried),
        _arm(f"{SOFT_TARGETS}, {name}", with_logits, **tried),
    ]


ARMS = [
    Arm(
        LABELS,
        {"rate": [3e-3, 1e-2], "l2": [1e-3, 3e-3, 1e-2, 3e-2]},
        lambda v: _objective(kd.losses.SoftTargets(1.0), 1.0, 0.0),
    ),
    _shared(SOFT_TARGETS, _tempered(SOFT_TARGETS), temperature=[4.0, 8.0]),
    _beside("TTM", _tempered("TTM"), temperature=[2.0, 4.0], soft=[0.5, 2.0]),
    _beside("WTTM", _tempered("WTTM"), temperature=[2.0, 4.0], soft=[0.5, 2.0]),
    _beside(
        "LogitMatching",
        lambda v: kd.losses.LogitMatching(),
        soft=[0.1, 0.3, 1.0, 3.0],
    ),
    _beside(
        "DKD",
        _tempered("DKD", "nontarget_weight"),
        temperature=[4.0, 8.0],
        nontarget_weight=[2.0, 8.0],
    ),
    _beside(
        "NKD",
        _tempered("NKD", "nontarget_weight"),
        temperature=[2.0, 4.0],
        nontarget_weight=[0.5, 1.5],
    ),
    _beside("DIST", _tempered("DIST"), temperature=[1.0, 4.0], soft=[0.3, 1.0]),
    _beside(
        f"Standardized({SOFT_TARGETS})",
        lambda v: kd.losses.Standardized(_tempered(SOFT_TARGETS)(v)),
        temperature=[2.0, 4.0],
        soft=[1.0, 3.0],
    ),
    _shared("ReverseKL", _tempered("ReverseKL"), temperature=[4.0, 8.0]),
    _shared(
        "JensenShannon", _tempered("JensenShannon"), temperature=[4.0, 8.0]
    ),
    _beside(
        "HardLabels",
        lambda v: kd.losses.HardLabels(),
        soft=[0.5, 1.0, 2.0, 4.0],
    ),
    *_features("hint", keras.losses.MeanSquaredError, 0.1, 1.0, 10.0, 100.0),
    *_features(
        "CosineDistance", kd.losses.CosineDistance, 0.1, 1.0, 10.0, 100.0
    ),
    *_features(
        "AttentionTransfer", kd.losses.AttentionTransfer, 1e1, 1e2, 1e3, 1e4
    ),
    *_features("RKD", kd.losses.RKD, 0.01, 0.1, 1.0, 10.0),
]
