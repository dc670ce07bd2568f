"""What the TTM and WTTM studies compare, and how long, wide and often."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import keras
from keras import ops

import keras_distill as kd
from benchmarks.harness import CROSSENTROPY


class Regularized(keras.losses.Loss):
    """Cross-entropy with smoothed labels, less a part of the entropy.

    Szegedy et al. 2016 (arXiv 1512.00567), and the confidence penalty of
    Pereyra et al. 2017 (arXiv 1701.06548).
    """

    def __init__(self, smoothing: float, penalty: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.smoothing, self.penalty = smoothing, penalty

    def call(self, labels: Any, logits: Any) -> Any:
        one_hot = ops.one_hot(ops.cast(labels, "int32"), logits.shape[-1])
        loss = keras.losses.categorical_crossentropy(
            one_hot, logits, from_logits=True, label_smoothing=self.smoothing
        )
        return loss - self.penalty * kd.transforms.renyi_entropy(logits, 1.0)


@dataclass(frozen=True)
class Method:
    """What a student learns from; without a loss, labels alone."""

    loss: str | None = None
    temperature: float = 1.0
    hard: float = 1.0
    soft: float = 0.0
    example_weight: str | None = None
    nontarget_weight: float | None = None
    smoothing: float = 0.0
    penalty: float = 0.0
    rate: float = 3e-3

    def __str__(self) -> str:
        rate = f"rate {self.rate:g}"
        if self.loss is None:
            more = {"smoothing": self.smoothing, "penalty": self.penalty}
            said = [
                f"{name} {value:g}" for name, value in more.items() if value
            ]
            return ", ".join(["labels", *said, rate])
        numbers = [f"{self.temperature:g}"]
        if self.example_weight:
            numbers.append(self.example_weight)
        if self.nontarget_weight is not None:
            numbers.append(f"others {self.nontarget_weight:g}")
        weights = f"hard {self.hard:g}, soft {self.soft:g}"
        return f"{self.loss}({', '.join(numbers)}), {weights}, {rate}"

    def soft_loss(self) -> keras.losses.Loss:
        """Of weight 0 where the student learns from labels alone."""
        if self.loss is None:
            return kd.losses.SoftTargets(self.temperature)
        numbers: dict[str, Any] = {"temperature": self.temperature}
        if self.example_weight:
            weight = getattr(kd.example_weights, self.example_weight)
            numbers["example_weight"] = weight
        if self.nontarget_weight is not None:
            numbers["nontarget_weight"] = self.nontarget_weight
        return getattr(kd.losses, self.loss)(**numbers)

    def label_loss(self) -> keras.losses.Loss:
        if self.smoothing or self.penalty:
            return Regularized(self.smoothing, self.penalty)
        return CROSSENTROPY


LABELS, SMOOTHED, PENALIZED = "labels", "label smoothing", "confidence penalty"
SOFT, TTM, WTTM, DKD = "KD", "TTM", "WTTM", "DKD"
ALONE = {name: f"{name} without labels" for name in (SOFT, TTM, WTTM)}
WEIGHED = {
    name: f"TTM by {name}" for name in ("entropy", "confidence", "correctness")
}
MAIN = (SOFT, TTM, WTTM)
CLASSES = {SOFT: "SoftTargets", TTM: "TTM", WTTM: "WTTM"}


def weighted(arm: str, temperature: float, weight: float) -> Method:
    """Of KD, whose weights sum to 1; of others, whose labels weigh 1."""
    hard = 1 - weight if arm == SOFT else 1.0
    return Method(CLASSES[arm], temperature, round(hard, 6), weight)


def alone(arm: str, temperature: float) -> Method:
    return Method(CLASSES[arm], temperature, hard=0.0, soft=1.0)


def by_default(arm: str, temperature: float) -> Method:
    """With the weights that the loss declares."""
    name = CLASSES[arm]
    weights = getattr(kd.losses, name)(temperature).default_weights
    return Method(name, temperature, *weights)


# What the common learning rate is chosen by.
MIDDLE = {
    SOFT: weighted(SOFT, 3.0, 0.7),
    TTM: weighted(TTM, 3.0, 5.0),
    WTTM: weighted(WTTM, 3.0, 5.0),
}
# The grids: twelve candidates for each arm. Those of labels have the learning
# rate among their numbers; that of the others is chosen for all of them.
# A short run tries the first.
LABEL_RATES = (1e-2, 3e-4, 4e-4, 6e-4, 8e-4, 1e-3)
LABEL_RATES += (1.5e-3, 2e-3, 3e-3, 4e-3, 6e-3, 8e-3)
RATES = (1e-3, 3e-3, 1e-2)
ALONE_TEMPERATURES = (1.0, 1.25, 1.5, 1.75, 2.0, 2.5)
ALONE_TEMPERATURES += (3.0, 3.5, 4.0, 5.0, 6.0, 8.0)
# Of KD, a share; of the others, beside labels of weight 1.
WEIGHTS = {SOFT: (0.5, 0.7, 0.9), TTM: (1.5, 5.0, 15.0)}
WEIGHTS[WTTM] = WEIGHTS[TTM]


def _labels(**numbers: Iterable[float]) -> list[Method]:
    return [
        Method(rate=rate, **{name: value})
        for name, values in numbers.items()
        for value in values
        for rate in RATES
    ]


def arms_of(
    temperatures: Iterable[float],
    dkd_temperatures: Iterable[float],
    example_weights: dict[str, Iterable[float]] | None = None,
) -> dict[str, list[Method]]:
    """Each arm's candidates.

    Args:
        temperatures: Of losses with labels beside them, four.
        dkd_temperatures: Of DKD, three.
        example_weights: Weights of TTM with examples weighed by that name,
            where they are not those of TTM.
    """

    def weighed(name: str) -> list[Method]:
        weights = (example_weights or {}).get(name, WEIGHTS[TTM])
        return [
            replace(weighted(TTM, temperature, weight), example_weight=name)
            for temperature in temperatures
            for weight in weights
        ]

    return {
        LABELS: [Method(rate=rate) for rate in LABEL_RATES],
        SMOOTHED: _labels(smoothing=(0.03, 0.1, 0.2, 0.4)),
        PENALIZED: _labels(penalty=(0.03, 0.1, 0.3, 1.0)),
        **{
            arm: [
                weighted(arm, temperature, weight)
                for temperature in temperatures
                for weight in WEIGHTS[arm]
            ]
            for arm in MAIN
        },
        **{
            name: [alone(arm, t) for t in ALONE_TEMPERATURES]
            for arm, name in ALONE.items()
        },
        DKD: [
            Method("DKD", temperature, soft=1.0, nontarget_weight=others)
            for temperature in dkd_temperatures
            for others in (1.0, 2.0, 4.0, 8.0)
        ],
        **{arm: weighed(name) for name, arm in WEIGHED.items()},
    }


ARMS = arms_of(
    temperatures=(2.0, 3.0, 4.0, 8.0),
    dkd_temperatures=(2.0, 4.0, 8.0),
    # Entropies of a sure teacher are small, so that they need large weights.
    example_weights={"entropy": (5.0, 15.0, 50.0)},
)


@dataclass(frozen=True)
class Size:
    """How long, wide and often; `--short` is small."""

    units: int = 30
    teachers: tuple[int, ...] = (100, 300, 1200)
    teacher_updates: int = 19_200
    updates: int = 12_000
    longer: int = 24_000
    curve: tuple[int, ...] = (3_000, 6_000, 12_000, 24_000, 36_000)
    rates: tuple[float, ...] = (1e-3, 3e-3, 1e-2)
    candidates: int | None = None
    arms: tuple[str, ...] = tuple(ARMS)
    tuning_seeds: int = 2
    temperatures: tuple[float, ...] = (1.5, 2.0, 3.0, 4.0, 8.0)
    shares: tuple[float, ...] = (0.1, 0.3, 0.5, 0.7, 0.9)
    betas: tuple[float, ...] = (0.5, 1.5, 5.0, 15.0, 50.0)
    map_seeds: int = 3
    starting_temperatures: tuple[float, ...] = (2.0, 4.0)
    seeds: int = 10
    some_seeds: int = 5
    wrong: tuple[float, ...] = (0.0, 0.2, 0.4)
    few: tuple[float, ...] = (0.01, 0.03)
    few_updates: int = 1_500


SHORT = Size(
    units=8,
    teachers=(32, 64),
    teacher_updates=400,
    updates=200,
    longer=200,
    curve=(200,),
    rates=(1e-2,),
    candidates=1,
    arms=(LABELS, *MAIN, *ALONE.values(), WEIGHED["entropy"]),
    tuning_seeds=1,
    temperatures=(2.0,),
    shares=(0.5, 0.9),
    betas=(1.5, 5.0),
    map_seeds=1,
    starting_temperatures=(2.0,),
    seeds=2,
    some_seeds=2,
    wrong=(0.0, 0.4),
    few=(0.2,),
    few_updates=200,
)
