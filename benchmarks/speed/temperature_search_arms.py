"""The searches that `temperature_search` compares, and their trials."""

from collections.abc import Callable
from typing import Any

import keras
import keras_tuner

import keras_distill as kd
from benchmarks.harness import CROSSENTROPY, mlp, seconds

TEMPERATURE, WEIGHT = (1.0, 20.0), (0.1, 1.0)
STUDENT = (450, 450)
BATCH = 256


def space(hp: Any) -> tuple[float, float]:
    """Declared alike, so that the same random numbers give the same values."""
    hp.Fixed("distillation_loss", "SoftTargets")
    temperature = hp.Float("temperature", *TEMPERATURE, sampling="log")
    return temperature, hp.Float("soft_loss_weight", *WEIGHT)


def settings() -> dict:
    return {"optimizer": "adam", "loss": CROSSENTROPY, "metrics": ["accuracy"]}


def seeded_student(features: int) -> keras.Model:
    keras.utils.set_random_seed(1)
    return mlp(features, *STUDENT)


def plain(features: int) -> Callable[[Any], keras.Model]:
    def build(hp: Any) -> keras.Model:
        space(hp)
        student = seeded_student(features)
        student.compile(**settings())
        return student

    return build


def theirs(teacher: keras.Model, features: int) -> Callable:
    """The same space and objective with `keras.distillation.Distiller`."""

    def build(hp: Any) -> keras.Model:
        temperature, weight = space(hp)
        distiller = keras.distillation.Distiller(
            teacher,
            seeded_student(features),
            keras.distillation.LogitsDistillation(
                temperature=temperature, loss=keras.losses.KLDivergence()
            ),
            student_loss_weight=1 - weight,
        )
        distiller.compile(**settings())
        return distiller

    return build


def ours(teacher: keras.Model | None, features: int) -> Any:
    return kd.tuner.DistillationHyperModel(
        lambda hp: seeded_student(features),
        teacher,
        compile=settings(),
        losses=["SoftTargets"],
        temperature=TEMPERATURE,
        soft_loss_weight=WEIGHT,
    )


class Arm(keras_tuner.RandomSearch):
    """A search whose trials are timed and kept, each when it is over.

    It begins anew in each process, with the same seed and so with the same
    trials; of those that are kept, it reads the score.
    """

    def __init__(
        self, hypermodel: Any, name: str, folder: str, keep: Callable
    ) -> None:
        super().__init__(
            hypermodel,
            objective="val_accuracy",
            seed=1,  # keras-tuner takes 0 for no seed.
            directory=folder,
            project_name=name,
        )
        self.keep, self.first = keep, True
        self.trials: list[dict] = []

    def next_trial(self, *train: Any, **fit: Any) -> None:
        self.oracle.max_trials = len(self.trials) + 1
        self.search(*train, **fit, batch_size=BATCH, verbose=0)
        # keras-tuner goes on after a trial that failed.
        assert len(self.trials) == self.oracle.max_trials, "see the trial.json"

    def run_trial(self, trial: Any, *args: Any, **kwargs: Any) -> dict:
        def made() -> dict:
            found: list = []
            run = super(Arm, self).run_trial
            time = seconds(lambda: found.extend(run(trial, *args, **kwargs)))
            first, self.first = self.first, False
            return {
                **trial.hyperparameters.values,
                "val_accuracy": max(found[0].history["val_accuracy"]),
                "seconds": time,
                "first of its process": first,
            }

        name = f"{self.project_name}-{len(self.trials)}"
        self.trials.append(self.keep(name, made))
        return {"val_accuracy": self.trials[-1]["val_accuracy"]}
