"""The data, teachers and students of `hinton_mnist.py`."""

import functools
import itertools
import pathlib
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import keras
import numpy as np

import keras_distill as kd
from benchmarks.harness import CROSSENTROPY, Runs, adam
from benchmarks.paper import mnist
from benchmarks.paper.hinton_mnist_methods import GRID, Method, Size


class Experiment:
    """The data, the runs, and the teachers with their cached logits."""

    def __init__(
        self, size: Size, train: tuple, test: tuple, work: pathlib.Path
    ) -> None:
        self.size, self.train, self.test = size, train, test
        self.work = work
        self.runs = Runs(work)
        held_out = len(train[0]) // 6
        self.kept, self.held_out = mnist.hold_out(*train, held_out)
        self.kept_rows, _ = mnist.rows_held_out(len(train[0]), held_out)

    def run(
        self,
        name: str,
        settings: dict,
        make: Callable[[], dict],
        teachers: tuple[int, ...] = (0,),
    ) -> dict:
        common: dict[str, Any] = {"backend": keras.backend.backend()}
        if teachers:
            size = self.size.teacher_units, self.size.teacher_updates
            common["teachers"] = [*size, teachers]
        return self.runs(name, common | settings, make)

    def teacher(
        self, seed: int, whole: bool = True, updates: int | None = None
    ) -> keras.Model:
        """A teacher of all training images, or of those not held out."""
        updates = updates or self.size.teacher_updates
        return mnist.kept_teacher(
            self.work / f"{self._name(whole, seed, updates)}.keras",
            self.train if whole else self.kept,
            self.size.teacher_units,
            updates,
            seed,
        )

    def _name(self, whole: bool, *numbers: Any) -> str:
        settings = "-".join(map(str, (self.size.teacher_units, *numbers)))
        return f"teacher-{'all' if whole else 'part'}-{settings}"

    def ensemble(self) -> keras.Model:
        """All teachers as one."""
        return kd.Ensemble(
            [self.teacher(seed) for seed in range(self.size.teachers)]
        )

    @functools.cached_property
    def logits(self) -> np.ndarray:
        """The first teacher's, for all training images."""
        return self._cached(self.teacher(0), self.train, True, 0)

    @functools.cached_property
    def tuning_logits(self) -> np.ndarray:
        """The tuning teacher's, for the images that it has seen."""
        return self._cached(self.teacher(0, False), self.kept, False, 0)

    @functools.cached_property
    def ensemble_logits(self) -> np.ndarray:
        """Those of all teachers together, for all training images."""
        return self._cached(self.ensemble(), self.train, True, "all")

    def _cached(
        self, teacher: keras.Model, data: tuple, whole: bool, which: Any
    ) -> np.ndarray:
        name = self._name(whole, which, self.size.teacher_updates)
        return mnist.cached_logits(
            teacher, data[0], self.work / f"{name}-logits"
        )

    def student(
        self,
        method: Method,
        units: int,
        data: tuple,
        seed: int,
        *,
        logits: np.ndarray | None = None,
        teacher: keras.Model | None = None,
        updates: int | None = None,
    ) -> keras.Model:
        """A student of images and labels, as they are or shifted.

        Args:
            method: What it learns from.
            units: Of each of its layers.
            data: Images and labels.
            seed: Of its weights, and of the order of the images.
            logits: A teacher's, for the images as they are.
            teacher: One that sees the same shifted images as the student.
            updates: How many, if others than all have.
        """
        keras.utils.set_random_seed(1000 + seed)
        student = mnist.student_network(units)
        x, y = data
        updates = updates or self.size.updates
        epochs, steps = mnist.passes(len(x), mnist.BATCH, updates)
        optimizer = adam(method.learning_rate, steps)
        fit = {"batch_size": mnist.BATCH, "epochs": epochs, "verbose": 0}
        if method.loss is None:
            student.compile(optimizer, CROSSENTROPY)
            student.fit(x, y, **fit)
            return student
        distiller = kd.Distiller(
            teacher,
            student,
            method.made_loss(),
            hard_loss_weight=method.hard_loss_weight,
            soft_loss_weight=method.soft_loss_weight,
        )
        distiller.compile(optimizer, CROSSENTROPY)
        if teacher:
            views = mnist.Shifted(x, y, fit.pop("batch_size"), 1000 + seed)
            distiller.fit(views, **fit)
        else:
            distiller.fit(kd.WithTeacherLogits(x, logits), y, **fit)
        return distiller.student

    def tested(self, method: Method, units: int, seed: int) -> int:
        """The test errors of a student of all training images."""

        def make() -> dict:
            logits = self.logits if method.loss else None
            model = self.student(method, units, self.train, seed, logits=logits)
            return {"errors": mnist.errors(model, *self.test)}

        return self._errors(f"test {units}", method, units, seed, make)

    def held_out_errors(
        self, method: Method, seed: int, updates: int | None = None
    ) -> int:
        """Those of a student that has not seen the images held out."""
        units = self.size.units[0]

        def make() -> dict:
            logits = self.tuning_logits if method.loss else None
            model = self.student(
                method, units, self.kept, seed, logits=logits, updates=updates
            )
            return {"errors": mnist.errors(model, *self.held_out)}

        return self._errors("tuning", method, units, seed, make, updates)

    def _errors(
        self,
        what: str,
        method: Method,
        units: int,
        seed: int,
        make: Callable[[], dict],
        updates: int | None = None,
    ) -> int:
        settings = {
            "method": asdict(method),
            "units": units,
            "updates": updates or self.size.updates,
            "seed": seed,
        }
        name = f"{what}, {method}, {settings['updates']} updates, seed {seed}"
        teachers = (0,) if method.loss else ()
        return self.run(name, settings, make, teachers)["errors"]

    @property
    def grid(self) -> dict[str, list[Method]]:
        kept = slice(self.size.candidates)
        return {group: methods[kept] for group, methods in GRID.items()}

    def over_seeds(
        self, methods: list[Method], units: int, seeds: int
    ) -> dict[Method, list[int]]:
        """Test errors of each seed, all methods of one before the next."""
        errors: dict[Method, list[int]] = {method: [] for method in methods}
        for seed, method in itertools.product(range(seeds), methods):
            errors[method].append(self.tested(method, units, seed))
        return errors

    def by_class(self, model: keras.Model, present: list) -> dict:
        """Errors, and those on the classes that were not shown."""
        wrong = mnist.wrong(model, *self.test)
        omitted = ~np.isin(self.test[1], present)
        return {
            "errors": int(np.sum(wrong)),
            "errors on omitted": int(np.sum(wrong & omitted)),
        }
