"""The teacher and the students of `specialists_distilled.py`, of one seed."""

import functools
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

import keras
import numpy as np

import keras_distill as kd
from benchmarks.harness import Runs, adam, kept_model, load
from benchmarks.paper import mnist, pairs, specialists_models
from benchmarks.paper.specialists_models import Experiment

UNKNOWN = -1
LOSS = keras.losses.SparseCategoricalCrossentropy(
    from_logits=True, ignore_class=UNKNOWN
)


@dataclass(frozen=True)
class Method:
    """What a student learns from; no temperature means labels alone."""

    temperature: float | None = None
    hard: float = 1.0
    decay: float = 0.0
    scale: float = 10.0

    def __str__(self) -> str:
        others = f"weight decay {self.decay:g}"
        if self.scale != Method.scale:
            others += f", scale {self.scale:g}"
        if self.temperature is None:
            return others
        return f"T = {self.temperature:g}, labels {self.hard:g}, {others}"


@dataclass(frozen=True)
class Arm:
    """As many candidates as the others; all labels are known, or a tenth."""

    candidates: tuple[Method, ...]
    tenth: bool = False


_LABELS = (
    Method(),
    Method(decay=0.1),
    Method(decay=0.3),
    Method(decay=1.0),
    Method(decay=0.03, scale=1.0),
    Method(decay=0.3, scale=1.0),
)
_SOFT = (
    Method(0.1, 0.0),
    Method(0.25, 0.0),
    Method(0.5, 0.0),
    Method(1.0, 0.0),
    Method(2.0, 0.0),
    Method(0.5, 0.0, scale=1.0),
)
_BOTH = (
    Method(0.25, 0.1),
    Method(0.25, 0.5),
    Method(1.0, 0.5),
    Method(1.0, 0.9, 0.1),
    Method(1.0, 0.5, scale=1.0),
    Method(1.0, 0.9, 0.03, scale=1.0),
)
# How much of what a low temperature does is a matter of the step size.
SCALED = [
    Method(temperature, hard, scale=scale)
    for scale in (1.0, Method.scale)
    for temperature, hard in ((None, 1.0), (0.1, 0.0), (1.0, 0.0))
]
LABELS, SOFT, BOTH = "labels", "soft targets", "soft targets and labels"
TENTH = "a tenth of the labels"
SOFT_AND_TENTH = "soft targets and a tenth of the labels"
ARMS = {
    LABELS: Arm(_LABELS),
    SOFT: Arm(_SOFT),
    BOTH: Arm(_BOTH),
    TENTH: Arm(_LABELS, tenth=True),
    SOFT_AND_TENTH: Arm(_BOTH, tenth=True),
}


def _chosen() -> dict:
    """The setting of the specialists that did best in `specialists.py`."""
    found = load("specialists")["tuning"]["chosen"]
    return {name: found[name] for name in ("sets", "epochs", "n")}


@dataclass(frozen=True)
class Size:
    """How much is done."""

    teacher: specialists_models.Size = specialists_models.Size()
    chosen: dict = field(default_factory=_chosen)
    units: tuple[int, ...] = (8, 12, 16, 24, 32, 64)
    seeds: int = 3
    updates: int = 12_000
    tuning_updates: int = 6_000
    batch: int = 500
    rate: float = 1e-2
    tuned_units: tuple[int, ...] = (8, 24, 64)
    curve: tuple[int, ...] = (3_000, 6_000, 12_000, 24_000)
    curve_units: tuple[int, ...] = (8, 64)
    candidates: int | None = None


SHORT = Size(
    teacher=specialists_models.SHORT,
    chosen={"sets": [2, 10], "epochs": 1, "n": 2},
    units=(8, 16),
    seeds=1,
    updates=20,
    tuning_updates=20,
    tuned_units=(8,),
    curve=(8, 20),
    curve_units=(8,),
    candidates=2,
)


class Students:
    """The teacher and the students of one seed, kept in a folder.

    The teacher has not seen the held-out images either.
    """

    def __init__(self, size: Size, data: dict, runs: Runs, seed: int) -> None:
        self.size, self.runs, self.seed = size, runs, seed
        (train, held_out), (_, test) = data["tune"], data["test"]
        self.experiment = Experiment(
            size.teacher, {"test": (train, test)}, runs, seed, "test"
        )
        self.train, self.test = self.experiment.train, self.experiment.test
        self.held_out = pairs.pairs(*held_out, size.teacher.test, 2 * seed + 1)

    def run(self, name: str, settings: dict, make: Callable) -> dict:
        common = {
            "teacher": asdict(self.size.teacher),
            "chosen": self.size.chosen,
            "seed": self.seed,
        }
        name = f"{name}, seed {self.seed}"
        return self.runs(name, common | settings, make)

    @functools.cached_property
    def logits(self) -> np.ndarray:
        """The specialists', with their generalist's, for the training pairs."""
        cache = self.experiment.cache(self.size.chosen)
        return np.array(cache.logits(0, len(self.train[0])))

    def teacher(self) -> dict:
        """How good and how costly generalist and specialists are together."""
        return self.run("teacher", {}, self._teacher)

    def _teacher(self) -> dict:
        ensemble = self.experiment.teacher(self.size.chosen)
        generalist, x = ensemble.generalist, self.test[0]
        logits = generalist.predict(x, batch_size=1000, verbose=0)
        on = active(logits, ensemble.class_sets, ensemble.n)
        costs = np.array([multiplications(model) for model in ensemble.models])
        models = [generalist, *ensemble.models]
        return {
            "generalist": accuracy(generalist, self.test),
            "specialists": accuracy(ensemble, self.test),
            "active": float(on.sum(axis=1).mean()),
            "multiplications": multiplications(generalist)
            + float((on @ costs).mean()),
            "parameters": sum(model.count_params() for model in models),
        }

    def data(self, method: Method, tenth: bool) -> tuple[Any, np.ndarray]:
        """Pairs and labels; without a teacher, those with a label alone."""
        x, y = self.train
        known = len(x) // 10 if tenth else len(x)
        if method.temperature is None:
            return x[:known], y[:known]
        labels = np.where(np.arange(len(x)) < known, y, UNKNOWN)
        return kd.WithTeacherLogits(x, self.logits), labels

    def student(
        self, units: int, method: Method, tenth: bool, updates: int
    ) -> keras.Model:
        """A net of one layer, from weights drawn anew."""
        x, y = self.data(method, tenth)
        keras.utils.set_random_seed(1000 + self.seed)
        student = pairs.network(self.train[0].shape[1], units, method.scale)
        model = student
        if method.temperature is not None:
            model = kd.Distiller(
                None,
                student,
                kd.losses.SoftTargets(method.temperature),
                hard_loss_weight=method.hard,
                soft_loss_weight=1 - method.hard,
            )
        optimizer = adam(self.size.rate, updates)
        optimizer.weight_decay = method.decay or None
        model.compile(optimizer, LOSS)
        batch = self.size.batch
        epochs = passes(len(y), batch, updates)
        model.fit(x, y, batch, epochs, verbose=0)
        return student

    def kept(
        self, units: int, method: Method, tenth: bool, updates: int
    ) -> keras.Model:
        """The student; what was made to choose a setting is tested later."""
        known = "a tenth" if tenth else "all"
        name = f"{units} units, {method}, {known}, {updates} updates.keras"
        return kept_model(
            self.experiment.folder / "students" / name,
            lambda: self.student(units, method, tenth, updates),
        )

    def accuracy(
        self,
        where: str,
        units: int,
        method: Method,
        tenth: bool,
        updates: int,
    ) -> float:
        """On the pairs that are `held_out`, or for the `test`."""
        settings = {
            "units": units,
            "method": asdict(method),
            "tenth": tenth,
            "updates": updates,
            "batch": self.size.batch,
            "rate": self.size.rate,
        }

        def make() -> dict:
            student = self.kept(units, method, tenth, updates)
            return {"accuracy": accuracy(student, getattr(self, where))}

        known = ", a tenth of the labels" if tenth else ""
        name = f"{where}, {units} units, {method}{known}, {updates} updates"
        return self.run(name, settings, make)["accuracy"]


def passes(count: int, batch: int, updates: int) -> int:
    """How often so many pairs are gone through in so many updates."""
    steps = -(-count // batch)
    if updates % steps:
        raise ValueError(f"{updates} updates are no multiple of {steps}.")
    return updates // steps


def accuracy(model: keras.Model, data: tuple) -> float:
    return 1 - mnist.errors(model, *data) / len(data[1])


def multiplications(model: keras.Model) -> int:
    """Of one example by the weights of dense layers."""
    shapes = [weight.shape for weight in model.weights]
    return sum(int(np.prod(shape)) for shape in shapes if len(shape) == 2)


def active(logits: np.ndarray, class_sets: list, n: int) -> np.ndarray:
    """Which specialists run for which example, of shape `(batch, sets)`."""
    top = np.argsort(-logits, axis=1)[:, :n]
    return pairs.members(class_sets)[:, top].any(axis=2).T
