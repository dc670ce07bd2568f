"""The folds of `spoken_digits.py`: networks, ensembles and students."""

from collections.abc import Callable
from dataclasses import dataclass

import keras

import keras_distill as kd
from benchmarks.harness import Runs, kept_model
from benchmarks.paper import speech

ENSEMBLES = ("arithmetic", "geometric")


@dataclass(frozen=True)
class Plan:
    """How much of everything."""

    members: int = 10
    temperatures: tuple = (1.0, 2.0, 5.0, 10.0)
    epochs: int = 7
    units: int = 128
    dropouts: tuple = (0.0, 0.1)
    rates: tuple = (2e-3, 4e-3)
    tuning_seeds: int = 1
    choice_students: int = 1
    seeds: int = 5
    speaker_pairs: int = 3


SHORT = Plan(2, (2.0,), 1, 8, (0.0,), (3e-3,), 1, 1, 1, 1)


class Fold:
    """Training and evaluation frames, and the networks trained on them."""

    def __init__(
        self,
        name: str,
        data: speech.Recordings,
        masks: tuple,
        seed: int,
        settings: dict,
        runs: Runs,
    ) -> None:
        training, evaluation = masks
        self.name, self.seed = name, seed
        self.settings, self.runs = settings, runs
        # Networks of other settings are other files.
        chosen = "-".join(f"{value:g}" for value in settings.values())
        self.stem = f"{name}-{seed}-{chosen}"
        self.train = speech.frames(data, training, training)[:2]
        self.test = speech.frames(data, evaluation, training)
        self._attached: tuple | None = None

    def measure(self, model: keras.Model) -> dict:
        return {
            "frame_accuracy": speech.frame_accuracy(model, *self.test[:2]),
            "utterance_error": speech.utterance_error(model, *self.test),
        }

    def run(self, arm: str, make: Callable[[], keras.Model]) -> dict:
        """Measures the model that `make()` gives, or reads what it gave."""
        return self.runs(
            f"{self.name}-{self.seed}-{arm}",
            self.settings | {"frames": len(self.train[0])},
            lambda: self.measure(make()),
        )

    def member(self, number: int) -> keras.Model:
        path = self.runs.folder / f"{self.stem}-{number}.keras"
        seed = 1000 * self.seed + number
        return kept_model(
            path,
            lambda: speech.train(*self.train, seed, self.seed, self.settings),
        )

    def ensemble(self, members: int, combine: str) -> keras.Model:
        return kd.Ensemble([self.member(i) for i in range(members)], combine)

    def student(
        self, temperature: float, number: int, members: int
    ) -> keras.Model:
        if self._attached is None:
            cache = kd.TeacherCache.build(
                self.ensemble(members, "arithmetic"),
                self.train,
                self.runs.folder / f"{self.stem}-cache",
                batch_size=1000,
                verbose=0,
            )
            self._attached = cache.attach(self.train)
        seed = 1000 * self.seed + members + number
        return speech.distil(
            self._attached, temperature, seed, self.seed, self.settings
        )

    def students(self, plan: Plan, count: int = 1) -> dict:
        """Per temperature, `count` distilled networks."""
        return {
            temperature: [
                self.run(
                    f"distilled-{temperature:g}-{number}",
                    lambda t=temperature, n=number: self.student(
                        t, n, plan.members
                    ),
                )
                for number in range(count)
            ]
            for temperature in plan.temperatures
        }

    def compare(self, plan: Plan) -> dict:
        """All arms: `single` holds one entry per member."""
        arms = {
            "single": [
                self.run(f"single-{i}", lambda i=i: self.member(i))
                for i in range(plan.members)
            ]
        }
        for combine in ENSEMBLES:
            arms[combine] = self.run(
                combine, lambda c=combine: self.ensemble(plan.members, c)
            )
        for temperature, (run,) in self.students(plan).items():
            arms[student_name(temperature)] = run
        return arms


def student_name(temperature: float) -> str:
    return f"distilled, T = {temperature:g}"
