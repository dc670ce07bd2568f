"""The teacher and the students of `ttm_wttm_cifar.py`."""

import functools
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

import keras
import numpy as np

import keras_distill as kd
from benchmarks.harness import Runs, kept_model
from benchmarks.paper import cifar, mnist
from benchmarks.paper.ttm_wttm_arms import (
    DKD,
    LABELS,
    SOFT,
    TTM,
    WTTM,
    Method,
    weighted,
)
from benchmarks.paper.ttm_wttm_measures import (
    Scores,
    best,
    held_out_scores,
    test_scores,
    tried,
)

TUNING_SEED = 100
TEMPERATURES = (2.0, 4.0, 8.0)
# A short run tries the first.
RATES = (1e-2, 1e-3, 2e-3, 3e-3, 5e-3, 2e-2)
# Six candidates for each arm; the rate of the others is the labels' best.
ARMS: dict[str, list[Method]] = {
    LABELS: [Method(rate=rate) for rate in RATES],
    SOFT: [weighted(SOFT, t, w) for t in TEMPERATURES for w in (0.5, 0.9)],
    # As large as the paper's on CIFAR-100, which are 0.3 to 1 times T^2.
    TTM: [weighted(TTM, t, w * t**2) for t in TEMPERATURES for w in (0.3, 1.0)],
    WTTM: [weighted(WTTM, t, w) for t in TEMPERATURES for w in (1.5, 4.0)],
    DKD: [
        Method("DKD", t, soft=1.0, nontarget_weight=others)
        for t in TEMPERATURES
        for others in (2.0, 8.0)
    ],
}


@dataclass(frozen=True)
class Size:
    """How large and how long; `--short` is small."""

    teacher: cifar.Stages = ((24, 1), (48, 2), (96, 2), (128, 1))
    student: cifar.Stages = ((12, 1), (24, 1), (48, 1), (64, 1))
    teacher_epochs: int = 60
    teacher_rate: float = 3e-3
    epochs: int = 24
    tuning_epochs: int = 12
    held_out: int = 5_000
    seeds: int = 6
    tuning_seeds: int = 1
    candidates: int | None = None


# As long for choices as at the end, so that a step is compiled once.
SHORT = Size(
    teacher=((8, 1), (8, 1)),
    student=((4, 1), (4, 1)),
    teacher_epochs=2,
    epochs=2,
    tuning_epochs=2,
    held_out=200,
    seeds=2,
    candidates=1,
)


class Experiment:
    """The data, the teacher with its logits, and the runs of its students."""

    def __init__(
        self, size: Size, train: tuple, test: tuple, runs: Runs
    ) -> None:
        self.size, self.test, self.runs = size, test, runs
        self.train, self.held_out = mnist.hold_out(*train, size.held_out)

    @functools.cached_property
    def teacher(self) -> keras.Model:
        how = self.size.teacher, self.size.teacher_epochs
        rate = self.size.teacher_rate
        return kept_model(
            self.runs.folder / f"{self._name}.keras",
            lambda: cifar.train_teacher(self.train, *how, rate),
        )

    @property
    def _name(self) -> str:
        stages = [n for stage in self.size.teacher for n in stage]
        numbers = *stages, self.size.teacher_epochs, self.size.teacher_rate
        return "teacher-" + "-".join(map(str, numbers))

    def _logits(self, x: np.ndarray, what: Any) -> np.ndarray:
        folder = self.runs.folder / f"{self._name}-{what}"
        return mnist.cached_logits(self.teacher, x, folder)

    @functools.cached_property
    def logits(self) -> np.ndarray:
        """The teacher's for each view, computed once."""
        x, views = self.train[0], range(self.size.epochs)
        return np.stack([self._logits(cifar.view(x, n), n) for n in views])

    @functools.cached_property
    def held_out_with_logits(self) -> tuple:
        x, y = self.held_out
        return kd.WithTeacherLogits(x, self._logits(x, "held-out")), y

    def distiller(self, method: Method, seed: int, epochs: int) -> kd.Distiller:
        keras.utils.set_random_seed(1000 + seed)
        distiller = kd.Distiller(
            None,
            cifar.network(self.size.student),
            method.soft_loss(),
            hard_loss_weight=method.hard,
            soft_loss_weight=method.soft,
        )
        numbers = range(self.size.epochs)
        views = cifar.Views(*self.train, numbers, seed, self.logits)
        optimizer = cifar.optimizer(method.rate, epochs * len(views))
        distiller.compile(
            optimizer,
            method.label_loss(),
            steps_per_execution=cifar.AT_A_TIME,
        )
        distiller.fit(views, epochs=epochs, verbose=0)
        return distiller

    def run(self, method: Method, seed: int, final: bool = False) -> Scores:
        """Held-out scores and, of `final` students, those of the test."""
        size = self.size
        epochs = size.epochs if final else size.tuning_epochs
        seed += 0 if final else TUNING_SEED

        def make() -> Scores:
            distiller = self.distiller(method, seed, epochs)
            data = self.held_out_with_logits
            found = held_out_scores(distiller, data, method.temperature)
            if final:
                student = distiller.student
                found |= test_scores(student, self.held_out, self.test)
            return found

        name = f"{method}, {epochs} epochs, seed {seed}"
        name = f"{'test' if final else 'held out'}, {name}"
        more = {"method": asdict(method), "epochs": epochs, "seed": seed}
        return self._kept(name, {**more, "student": size.student}, make)

    def teacher_scores(self) -> Scores:
        def make() -> Scores:
            return {
                **test_scores(self.teacher, self.held_out, self.test),
                "held-out errors": mnist.errors(self.teacher, *self.held_out),
            }

        return self._kept("teacher", {}, make)

    def _kept(self, name: str, more: dict, make: Callable) -> dict:
        size = self.size
        common = {
            "teacher": [size.teacher, size.teacher_epochs, size.teacher_rate],
            "views": size.epochs,
            "held_out": size.held_out,
            "backend": keras.backend.backend(),
        }
        return self.runs(name, common | more, make)

    def candidates(self, arm: str) -> list[Method]:
        methods = ARMS[arm][: self.size.candidates]
        if arm == LABELS:
            return methods
        rate = self.chosen(LABELS).rate
        return [replace(method, rate=rate) for method in methods]

    def tuning(self, arm: str) -> dict[str, list[int]]:
        return tried(
            self.candidates(arm),
            self.size.tuning_seeds,
            lambda *run: self.run(*run)["held-out errors"],
        )

    def chosen(self, arm: str) -> Method:
        return best(self.candidates(arm), self.tuning(arm))
