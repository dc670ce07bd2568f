"""What a search over temperatures costs, from a cache and without one.

Question: how long does the same random search over temperature and soft loss
weight take (20 trials x 5 epochs, MNIST, validation after each epoch) with

  cached   kd.tuner on data with logits attached by kd.TeacherCache; the time
           includes building the cache
  live     kd.tuner with the teacher run in each step
  keras    keras_tuner with keras.distillation.Distiller, its KLDivergence form

All arms train the same students with the same seeds on the same values of the
hyperparameters, and minimise the same objective. The teacher has two layers of
2000 units, the student two of 450: 10 times fewer multiplications. The arms
take turns, a block of trials each, so that a busy machine slows all of them;
a search that is continued in a later block is resumed by keras-tuner. The live
arm, which no target depends on, runs the first block only.

Accuracy is that on 10,000 held-out training images. Test data are not used.

Command: KERAS_BACKEND=jax python -m benchmarks.speed.temperature_search
             --data_dir FOLDER  (of TFDS data; downloaded if it is left out)
         `--digits` uses scikit-learn's digits; `--short` takes seconds and
         proves nothing.
Minutes: about 25 on 2 cores.
Expect:  keras / cached of about 3, live / cached of about 2. The bound is
         (3 + 1 + 10) / 3 = 4.7: a student step costs three forward passes,
         theirs one more, and the teacher ten.
Writes:  benchmarks/results/temperature_search.json, one entry per backend,
         after each block.
"""

import statistics
import tempfile
import time
from collections.abc import Callable
from typing import Any

import keras
import keras_tuner
import numpy as np

import keras_distill as kd
from benchmarks.harness import (
    CROSSENTROPY,
    arguments,
    digits,
    environment,
    mlp,
    save,
    taking_turns,
)
from benchmarks.paper import mnist

NAME = "temperature_search"
TEMPERATURE, WEIGHT = (1.0, 20.0), (0.1, 1.0)
TEACHER, STUDENT = (2000, 2000), (450, 450)
BATCH = 256


def images(data_dir: str | None) -> tuple:
    """Training images and labels, and 10,000 of them held out."""
    x, y = mnist.load("train", data_dir)
    return (x[:-10_000], y[:-10_000]), (x[-10_000:], y[-10_000:])


def small_images() -> tuple:
    x, y = digits()
    return (x[:1200], y[:1200]), (x[1200:], y[1200:])


class Theirs(keras_tuner.HyperModel):
    """The same space and objective with `keras.distillation.Distiller`."""

    def __init__(self, teacher: keras.Model, student: Callable) -> None:
        super().__init__()
        self.teacher, self.student = teacher, student

    def build(self, hp: Any) -> keras.Model:
        # Declared, so that the same random numbers give the same values.
        hp.Fixed("distillation_loss", "SoftTargets")
        temperature = hp.Float("temperature", *TEMPERATURE, sampling="log")
        weight = hp.Float("soft_loss_weight", *WEIGHT)
        distiller = keras.distillation.Distiller(
            self.teacher,
            self.student(hp),
            keras.distillation.LogitsDistillation(
                temperature=temperature, loss=keras.losses.KLDivergence()
            ),
            student_loss_weight=1 - weight,
        )
        distiller.compile("adam", CROSSENTROPY, metrics=["accuracy"])
        return distiller


class Arm:
    """A search that is run in blocks, and the seconds it has taken."""

    def __init__(
        self, hypermodel: Any, train: tuple, folder: str, seconds: float
    ) -> None:
        self.hypermodel, self.train, self.folder = hypermodel, train, folder
        self.before, self.blocks = seconds, []
        self.trials: list[dict] = []

    def search(self, trials: int, held_out: tuple, epochs: int) -> None:
        start = time.perf_counter()
        tuner = keras_tuner.RandomSearch(
            self.hypermodel,
            objective="val_accuracy",
            max_trials=trials,
            seed=1,  # keras-tuner takes 0 for no seed.
            directory=self.folder,
            project_name="search",
        )
        tuner.search(
            *self.train,
            validation_data=held_out,
            epochs=epochs,
            batch_size=BATCH,
            verbose=0,
        )
        self.blocks.append(time.perf_counter() - start)
        # In the order of the search; trials of later blocks get longer names.
        self.trials = [
            {
                **tuner.oracle.trials[name].hyperparameters.values,
                "val_accuracy": tuner.oracle.trials[name].score,
            }
            for name in tuner.oracle.start_order
        ]

    @property
    def seconds(self) -> float:
        return self.before + sum(self.blocks)


def seeded_student(features: int) -> Callable[[Any], keras.Model]:
    def build(hp: Any) -> keras.Model:
        keras.utils.set_random_seed(1)
        return mlp(features, *STUDENT)

    return build


def make_arms(teacher: keras.Model, train: tuple, folder: str) -> dict:
    build = seeded_student(train[0].shape[1])

    def ours(live: keras.Model | None) -> Any:
        return kd.tuner.DistillationHyperModel(
            build,
            live,
            compile={
                "optimizer": "adam",
                "loss": CROSSENTROPY,
                "metrics": ["accuracy"],
            },
            losses=["SoftTargets"],
            temperature=TEMPERATURE,
            soft_loss_weight=WEIGHT,
        )

    start = time.perf_counter()
    cache = kd.TeacherCache.build(
        teacher, train, f"{folder}/cache", batch_size=BATCH, verbose=0
    )
    attached = cache.attach(train)
    building = time.perf_counter() - start
    return {
        "cached": Arm(ours(None), attached, f"{folder}/cached", building),
        "live": Arm(ours(teacher), train, f"{folder}/live", 0.0),
        "keras": Arm(Theirs(teacher, build), train, f"{folder}/keras", 0.0),
    }


def run_blocks(
    arms: dict, held_out: tuple, trials: int, blocks: int, epochs: int
) -> Any:
    """Yields after each block of trials of every arm."""
    for block in range(1, blocks + 1):
        for name in taking_turns(arms, block - 1):
            if name == "live" and block > 1:
                continue
            arms[name].search(trials * block // blocks, held_out, epochs)
            print(f"block {block} {name}: {arms[name].blocks[-1]:.1f} s")
        yield


def summary(arms: dict) -> dict:
    cached = arms["cached"]
    result = {
        name: {
            "seconds": round(arm.seconds, 2),
            "block_seconds": arm.blocks,
            "cache_seconds": arm.before,
            "best_val_accuracy": max(t["val_accuracy"] for t in arm.trials),
            "mean_val_accuracy": statistics.mean(
                t["val_accuracy"] for t in arm.trials
            ),
            "trials": arm.trials,
        }
        for name, arm in arms.items()
    }
    for name in ("live", "keras"):
        # The live arm has the first blocks only; so do both terms then.
        count = len(arms[name].blocks)
        ours = cached.before + sum(cached.blocks[:count])
        result[f"{name} / cached"] = round(arms[name].seconds / ours, 2)
        pairs = zip(arms[name].blocks, cached.blocks, strict=False)
        result[f"{name} / cached, blocks"] = [round(a / b, 2) for a, b in pairs]
        result[f"{name} - cached, val_accuracy"] = differences(
            arms[name].trials, cached.trials
        )
    return result


def differences(trials: list[dict], others: list[dict]) -> dict:
    """Mean and sd over trials with the same hyperparameters."""
    found = []
    for a, b in zip(trials, others, strict=False):
        for name in ("temperature", "soft_loss_weight"):
            assert np.isclose(a[name], b[name]), "the arms' trials differ"
        found.append(a["val_accuracy"] - b["val_accuracy"])
    return {"mean": float(np.mean(found)), "sd": float(np.std(found, ddof=1))}


def cost_ratio(teacher: keras.Model, student: keras.Model) -> float:
    """Multiplications of a forward pass of one and of the other."""

    def cost(model: keras.Model) -> int:
        return sum(int(np.prod(w.shape)) for w in model.weights)

    return round(cost(teacher) / cost(student), 2)


def main() -> None:
    flag = {"action": "store_true", "help": "small data"}
    options = arguments(__doc__, NAME, "data_dir", digits=flag)
    small = options.digits or options.short
    trials, blocks, epochs = (2, 1, 1) if options.short else (20, 10, 5)
    train, held_out = small_images() if small else images(options.data_dir)
    keras.utils.set_random_seed(0)
    teacher = mlp(train[0].shape[1], *TEACHER)
    teacher.compile("adam", CROSSENTROPY, metrics=["accuracy"])
    teacher.fit(*train, batch_size=BATCH, epochs=1, verbose=0)
    student = seeded_student(train[0].shape[1])(None)
    with tempfile.TemporaryDirectory() as folder:
        arms = make_arms(teacher, train, folder)
        for _ in run_blocks(arms, held_out, trials, blocks, epochs):
            results = {
                "environment": environment("keras-tuner"),
                "data": "digits" if small else "mnist",
                "images": [len(train[0]), len(held_out[0])],
                "trials": len(arms["cached"].trials),
                "epochs": epochs,
                "batch_size": BATCH,
                "teacher_val_accuracy": float(
                    teacher.evaluate(*held_out, verbose=0)[1]
                ),
                "parameters, teacher / student": cost_ratio(teacher, student),
                **summary(arms),
            }
            save(NAME, results, options.out, by_backend=True)
    for key, value in results.items():
        if " / " in key or " - " in key:
            print(f"{key}: {value}")


if __name__ == "__main__":
    main()
