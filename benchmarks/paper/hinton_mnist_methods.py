"""What `hinton_mnist.py` compares, and how long, wide and often."""

from dataclasses import dataclass

import keras

import keras_distill as kd

TEMPERATURES = (1.0, 2.0, 2.5, 3.0, 4.0, 5.0, 8.0, 10.0, 20.0)
RATES = (3e-4, 1e-3, 3e-3, 1e-2)


@dataclass(frozen=True)
class Method:
    """What a student learns from; no loss means labels alone."""

    loss: str | None = None
    temperature: float | None = None
    hard_loss_weight: float = 0.0
    soft_loss_weight: float = 1.0
    learning_rate: float = 1e-3

    def __str__(self) -> str:
        rate = f"rate {self.learning_rate:g}"
        if self.loss is None:
            return f"labels alone, {rate}"
        number = "" if self.temperature is None else f"{self.temperature:g}"
        weights = f"{self.hard_loss_weight:g}, soft {self.soft_loss_weight:g}"
        return f"{self.loss}({number}), hard {weights}, {rate}"

    def made_loss(self) -> keras.losses.Loss:
        numbers = () if self.temperature is None else (self.temperature,)
        return getattr(kd.losses, self.loss)(*numbers)


def soft_targets(temperature: float, rate: float = 1e-3) -> Method:
    return Method("SoftTargets", temperature, learning_rate=rate)


LABELS, SOFT = "labels alone", "soft targets alone, T = 20"
# The candidates for each of the reported methods, as many for each.
GRID = {
    LABELS: [Method(learning_rate=rate) for rate in RATES],
    SOFT: [soft_targets(20.0, rate) for rate in RATES],
    "soft targets and labels": [
        Method("SoftTargets", 4.0, 0.1, 0.9),
        Method("SoftTargets", 20.0, 0.1, 0.9),
        Method("SoftTargets", 20.0, 0.5, 0.5),
        Method("SoftTargets", 20.0, 0.5, 0.5, 3e-3),
    ],
    "TTM": [
        Method("TTM", 2.0),
        Method("TTM", 4.0),
        Method("TTM", 4.0, 1.0, 10.0),
        Method("TTM", 4.0, 1.0, 10.0, 3e-3),
    ],
    "WTTM": [
        Method("WTTM", 2.0),
        Method("WTTM", 4.0),
        Method("WTTM", 4.0, 1.0, 2.25),
        Method("WTTM", 4.0, 1.0, 2.25, 3e-3),
    ],
    "logit matching": [
        Method("LogitMatching", learning_rate=rate) for rate in RATES
    ],
}


@dataclass(frozen=True)
class Size:
    """How long, how wide and how often; `--short` is small."""

    teacher_units: int = 1200
    teacher_updates: int = 38_400
    teacher_curve: tuple[int, ...] = (9_600, 19_200, 38_400)
    teachers: int = 3
    units: tuple[int, ...] = (800, 300, 30)
    updates: int = 36_000
    curve: tuple[int, ...] = (1_200, 3_000, 6_000, 12_000, 36_000, 72_000)
    seeds: int = 5
    sweep_seeds: tuple[int, ...] = (3, 3, 5)
    temperatures: tuple[float, ...] = TEMPERATURES
    tuning_seeds: int = 1
    candidates: int | None = None


SHORT = Size(
    teacher_units=32,
    teacher_updates=60,
    teacher_curve=(30, 60),
    teachers=2,
    units=(8,),
    updates=60,
    curve=(30, 60),
    seeds=2,
    sweep_seeds=(2,),
    temperatures=(1.0, 20.0),
    candidates=1,
)
