"""The data, teachers and students of `hinton_mnist.py`."""

import functools
import itertools
import pathlib
from collections.abc import Callable
from dataclasses import asdict, dataclass

import keras
import numpy as np

import keras_distill as kd
from benchmarks.harness import CROSSENTROPY, Runs, adam
from benchmarks.paper import mnist

TEMPERATURES = (1.0, 2.0, 2.5, 3.0, 4.0, 5.0, 8.0, 10.0, 20.0)


@dataclass(frozen=True)
class Method:
    """What a student learns from; no loss means labels alone."""

    loss: str | None = None
    temperature: float = 1.0
    hard_loss_weight: float = 0.0
    soft_loss_weight: float = 1.0
    learning_rate: float = 3e-3

    def __str__(self) -> str:
        if self.loss is None:
            return f"labels alone, rate {self.learning_rate:g}"
        return (
            f"{self.loss}({self.temperature:g}), hard "
            f"{self.hard_loss_weight:g}, soft {self.soft_loss_weight:g}"
        )


PAPERS = Method("SoftTargets", 20.0)
# The candidates for each of the reported methods.
GRID = {
    "labels alone": [Method(learning_rate=rate) for rate in (1e-3, 3e-3)],
    "soft targets alone": [
        Method("SoftTargets", t) for t in (2.0, 4.0, 8.0, 20.0)
    ],
    "soft targets and labels": [
        Method("SoftTargets", t, 0.1, 0.9) for t in (4.0, 20.0)
    ]
    + [Method("SoftTargets", 4.0, 0.5, 0.5)],
    "TTM": [Method("TTM", t, 0.0, 1.0) for t in (2.0, 4.0)]
    + [Method("TTM", 4.0, 1.0, 10.0)],
    "WTTM": [Method("WTTM", t, 0.0, 1.0) for t in (2.0, 4.0)]
    + [Method("WTTM", 4.0, 1.0, 2.25)],
}


@dataclass(frozen=True)
class Size:
    """How long, how wide and how often; `--short` is small."""

    teacher_units: int = 1200
    teacher_epochs: int = 80
    student_epochs: int = 12
    units: tuple[int, ...] = (800, 300, 30)
    temperatures: tuple[float, ...] = TEMPERATURES
    teachers: int = 1
    seeds: int = 5
    sweep_seeds: tuple[int, ...] = (3, 3, 5)
    longer: int = 5
    longer_seeds: int = 1
    tuning_seeds: int = 1
    candidates: int | None = None


SHORT = Size(
    teacher_units=32,
    teacher_epochs=2,
    student_epochs=2,
    units=(8,),
    temperatures=(1.0, 20.0),
    seeds=1,
    sweep_seeds=(1,),
    longer=2,
    longer_seeds=1,
    candidates=1,
)


class Experiment:
    """The data, the runs, and the teachers with their cached logits."""

    def __init__(
        self, size: Size, train: tuple, test: tuple, work: pathlib.Path
    ) -> None:
        self.size, self.train, self.test = size, train, test
        self.work = work
        self.runs = Runs(work / "runs")
        held_out = len(train[0]) // 6
        self.kept, self.held_out = mnist.hold_out(*train, held_out)

    def run(self, name: str, settings: dict, make: Callable[[], dict]) -> dict:
        common = {
            "backend": keras.backend.backend(),
            "teacher": [self.size.teacher_units, self.size.teacher_epochs],
            "student_epochs": self.size.student_epochs,
        }
        return self.runs(name, common | settings, make)

    def teacher(self, seed: int, whole: bool = True) -> keras.Model:
        return mnist.kept_teacher(
            self.work / f"{self.teacher_name(seed, whole)}.keras",
            self.train if whole else self.kept,
            self.size.teacher_units,
            self.size.teacher_epochs,
            seed,
        )

    def teacher_name(self, seed: int, whole: bool) -> str:
        size = self.size
        settings = f"{size.teacher_units}-{size.teacher_epochs}-{seed}"
        return f"teacher-{'all' if whole else 'part'}-{settings}"

    @functools.cached_property
    def logits(self) -> np.ndarray:
        """The first teacher's logits for all training images."""
        return self.cached_logits(whole=True)

    @functools.cached_property
    def tuning_logits(self) -> np.ndarray:
        """The tuning teacher's logits for the images that it has seen."""
        return self.cached_logits(whole=False)

    def cached_logits(self, whole: bool) -> np.ndarray:
        x = (self.train if whole else self.kept)[0]
        cache = kd.TeacherCache.build(
            self.teacher(0, whole),
            x,
            self.work / f"{self.teacher_name(0, whole)}-logits",
            batch_size=1000,
            verbose=0,
        )
        return np.array(cache.logits(0, len(x)))

    def student(
        self,
        method: Method,
        units: int,
        data: tuple,
        logits: np.ndarray | None,
        seed: int,
        longer: int = 1,
    ) -> keras.Model:
        """A student, trained on images, labels and a teacher's logits."""
        keras.utils.set_random_seed(1000 + seed)
        student = mnist.student_network(units)
        x, y = data
        epochs = self.size.student_epochs * longer
        steps = epochs * -(-len(x) // mnist.BATCH)
        optimizer = adam(method.learning_rate, steps)
        fit = {"batch_size": mnist.BATCH, "epochs": epochs, "verbose": 0}
        if method.loss is None:
            student.compile(optimizer, CROSSENTROPY)
            student.fit(x, y, **fit)
            return student
        distiller = kd.Distiller(
            None,
            student,
            getattr(kd.losses, method.loss)(temperature=method.temperature),
            hard_loss_weight=method.hard_loss_weight,
            soft_loss_weight=method.soft_loss_weight,
        )
        distiller.compile(optimizer, CROSSENTROPY)
        distiller.fit(kd.WithTeacherLogits(x, logits), y, **fit)
        return distiller.student

    def tested(
        self, method: Method, units: int, seed: int, longer: int = 1
    ) -> dict:
        """The test errors of a student of all training images."""

        def make() -> dict:
            logits = self.logits if method.loss else None
            model = self.student(
                method, units, self.train, logits, seed, longer
            )
            return {"errors": mnist.errors(model, *self.test)}

        settings = {"method": asdict(method), "units": units, "seed": seed}
        name = f"test {units} {method} {seed}"
        if longer > 1:
            name, settings["longer"] = f"{name}, {longer} x longer", longer
        return self.run(name, settings, make)

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
            found = self.tested(method, units, seed)["errors"]
            errors[method].append(found)
        return errors

    def by_class(self, model: keras.Model, present: list) -> dict:
        """Errors, and those on the classes that were not shown."""
        x, y = self.test
        logits = model.predict(x, batch_size=1000, verbose=0)
        wrong = np.argmax(logits, axis=-1) != y
        return {
            "errors": int(np.sum(wrong)),
            "errors on omitted": int(np.sum(wrong & ~np.isin(y, present))),
        }
