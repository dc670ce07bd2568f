"""The data, teachers and students of `ttm_wttm.py`."""

import functools
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import keras
import numpy as np

import keras_distill as kd
from benchmarks.harness import Runs, adam, kept_model
from benchmarks.paper import mnist
from benchmarks.paper.regularizers import balanced_subset, flip_labels, take
from benchmarks.paper.ttm_wttm_arms import ARMS, MIDDLE, Method, Size
from benchmarks.paper.ttm_wttm_measures import (
    Scores,
    best,
    held_out_scores,
    test_scores,
    tried,
)

TUNING_SEED = 100  # The first seed of students that settings are chosen by.


@dataclass(frozen=True)
class Task:
    """What is learned, by whom, and from whom.

    Attributes:
        name: Of the data.
        train: Inputs and labels.
        held_out: Those that choices are made on; nobody learns from them.
        test: Those of the final scores.
        student: Makes a new student.
        teacher: Trains a teacher of `(train, units, updates)`.
        arms: What is compared: the candidates of each.
    """

    name: str
    train: tuple[np.ndarray, np.ndarray]
    held_out: tuple[np.ndarray, np.ndarray]
    test: tuple[np.ndarray, np.ndarray]
    student: Callable[[], keras.Model]
    teacher: Callable[[tuple, int, int], keras.Model]
    arms: dict[str, list[Method]] = field(default_factory=lambda: ARMS)


@dataclass(frozen=True)
class Setting:
    """Who teaches, and what there is to learn from.

    Attributes:
        teacher: Units of each of its layers.
        wrong: Share of the labels that are wrong, for the teacher as well.
        share: Of the images, as many of each class, drawn by the seed.
    """

    teacher: int
    wrong: float = 0.0
    share: float = 1.0


class Teacher:
    """A teacher that is kept in a folder, and its logits."""

    def __init__(self, task: Task, size: Size, runs: Runs, setting: Setting):
        self._task, self._folder = task, runs.folder
        self._units, self._updates = setting.teacher, size.teacher_updates
        self._name = f"teacher-{self._units}-{self._updates}-{setting.wrong:g}"
        x, y = task.train
        classes = int(y.max()) + 1
        self._data = x, flip_labels(y, setting.wrong, classes, seed=0)

    @functools.cached_property
    def model(self) -> keras.Model:
        return kept_model(
            self._folder / f"{self._name}.keras",
            lambda: self._task.teacher(self._data, self._units, self._updates),
        )

    @functools.cached_property
    def train(self) -> tuple[kd.WithTeacherLogits, np.ndarray]:
        """Inputs with logits, and labels, wrong ones among them."""
        return self._taught("train", *self._data)

    @functools.cached_property
    def held_out(self) -> tuple[kd.WithTeacherLogits, np.ndarray]:
        return self._taught("held-out", *self._task.held_out)

    def _taught(self, what: str, x: np.ndarray, y: np.ndarray) -> tuple:
        folder = self._folder / f"{self._name}-{what}"
        logits = mnist.cached_logits(self.model, x, folder)
        return kd.WithTeacherLogits(x, logits), y

    def scores(self, temperatures: tuple[float, ...]) -> dict[str, Any]:
        """Its test scores, and the mean power sums of its training images."""
        logits = self.train[0].teacher_logits
        held_out = self.held_out[0].teacher_logits
        entropy = kd.transforms.renyi_entropy(held_out, 1.0)
        return {
            **test_scores(self.model, self._task.held_out, self._task.test),
            "training errors": int(np.sum(logits.argmax(-1) != self.train[1])),
            "entropy": float(np.mean(entropy)),
            "power sum": {
                f"{t:g}": float(np.mean(kd.transforms.power_sum(logits, t)))
                for t in temperatures
            },
        }


class Experiment:
    """The task, its teachers, and the runs of their students."""

    def __init__(self, size: Size, task: Task, runs: Runs) -> None:
        self.size, self.task, self.runs = size, task, runs
        self.setting = Setting(size.teachers[-1])
        self._teachers: dict[tuple, Teacher] = {}

    def teacher(self, setting: Setting) -> Teacher:
        key = setting.teacher, setting.wrong
        if key not in self._teachers:
            made = Teacher(self.task, self.size, self.runs, setting)
            self._teachers[key] = made
        return self._teachers[key]

    def distiller(
        self, method: Method, setting: Setting, seed: int, updates: int
    ) -> kd.Distiller:
        """A trained one; labels alone have a soft term of weight 0."""
        data = self.teacher(setting).train
        if setting.share < 1:
            rows = balanced_subset(data[1], setting.share, seed)
            # Again and again, so that no pass is short.
            data = take(data, np.resize(rows, len(data[1])))
        keras.utils.set_random_seed(1000 + seed)
        distiller = kd.Distiller(
            None,
            self.task.student(),
            method.soft_loss(),
            hard_loss_weight=method.hard,
            soft_loss_weight=method.soft,
        )
        epochs, steps = mnist.passes(len(data[1]), mnist.BATCH, updates)
        distiller.compile(
            adam(method.rate, steps),
            method.label_loss(),
            # A third less time, and the same numbers to the last bit.
            steps_per_execution=10,
        )
        distiller.fit(*data, mnist.BATCH, epochs, verbose=0)
        return distiller

    def run(
        self,
        method: Method,
        seed: int,
        setting: Setting | None = None,
        *,
        updates: int | None = None,
        final: bool = False,
    ) -> Scores:
        """Held-out scores and, of `final` students, those of the test."""
        setting = setting or self.setting
        updates = updates or self._updates(setting)
        seed += 0 if final else TUNING_SEED

        def make() -> Scores:
            distiller = self.distiller(method, setting, seed, updates)
            held_out = self.teacher(setting).held_out
            found = held_out_scores(distiller, held_out, method.temperature)
            if final:
                data = self.task.held_out, self.task.test
                found |= test_scores(distiller.student, *data)
            return found

        what = "test" if final else "held out"
        name = f"{what}, {method}, {updates} updates, seed {seed}"
        more = {"method": asdict(method), "updates": updates, "seed": seed}
        return self._kept(name, setting, more, make)

    def _updates(self, setting: Setting) -> int:
        few = setting.share < 1
        return self.size.few_updates if few else self.size.updates

    def teacher_scores(self, setting: Setting) -> dict[str, Any]:
        temperatures = self.size.temperatures
        return self._kept(
            f"teacher {setting.teacher}",
            setting,
            {"temperatures": temperatures},
            lambda: self.teacher(setting).scores(temperatures),
        )

    def _kept(
        self, name: str, setting: Setting, more: dict, make: Callable
    ) -> dict:
        common = {
            "task": self.task.name,
            "setting": asdict(setting),
            "teacher_updates": self.size.teacher_updates,
            "units": self.size.units,
            "backend": keras.backend.backend(),
        }
        return self.runs(name, common | more, make)

    def errors(self, setting: Setting) -> Callable[[Method, int], int]:
        """Held-out errors of a method and a seed."""
        return lambda *run: self.run(*run, setting)["held-out errors"]

    # What is chosen by them.

    def rates(self) -> dict[str, dict[str, list[int]]]:
        """By the learning rate, of each loss with middling numbers."""
        errors, seeds = self.errors(self.setting), self.size.tuning_seeds
        return {
            f"{rate:g}": tried(
                [replace(method, rate=rate) for method in MIDDLE.values()],
                seeds,
                errors,
            )
            for rate in self.size.rates
        }

    @functools.cached_property
    def rate(self) -> float:
        """The best of all three losses together."""
        found = self.rates()

        def total(rate: float) -> int:
            return sum(map(sum, found[f"{rate:g}"].values()))

        return min(self.size.rates, key=total)

    def candidates(self, arm: str) -> list[Method]:
        methods = self.task.arms[arm][: self.size.candidates]
        if methods[0].loss is None:
            return methods
        return [self.at_rate(method) for method in methods]

    def at_rate(self, method: Method) -> Method:
        """With the learning rate that was chosen for all losses."""
        return replace(method, rate=self.rate)

    def tuning(self, arm: str, setting: Setting) -> dict[str, list[int]]:
        seeds, errors = self.size.tuning_seeds, self.errors(setting)
        return tried(self.candidates(arm), seeds, errors)

    def chosen(self, arm: str, setting: Setting | None = None) -> Method:
        scores = self.tuning(arm, setting or self.setting)
        return best(self.candidates(arm), scores)
