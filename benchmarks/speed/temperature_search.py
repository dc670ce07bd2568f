"""What a search over temperatures costs, from a cache and without one.

Question: how long does the same random search over temperature and soft loss
weight take (20 trials x 5 epochs, MNIST, validation after each epoch) with

  cached   kd.tuner on data with logits attached by kd.TeacherCache; the time
           includes building the cache
  live     kd.tuner with the teacher run in each step
  keras    keras_tuner with keras.distillation.Distiller, its KLDivergence form
  plain    keras_tuner with the student alone, trained on the labels; it
           compiles in each trial

and what does a trial cost over plain training, once the first of kd.tuner has
compiled its programs?

All arms train the same students with the same seeds on the same values of the
hyperparameters, and those that distil minimise the same objective. The teacher
has two layers of 2000 units, the student two of 450: 10 times fewer
multiplications. The arms take turns, trial by trial, so that a busy machine
slows all of them. A trial is timed from building its model to its last
checkpoint.

Accuracy is that on 10,000 held-out training images. Test data are not used.

Command: KERAS_BACKEND=jax python -m benchmarks.speed.temperature_search
             --data_dir FOLDER  (of TFDS data; downloaded if it is left out)
         `--digits` uses scikit-learn's digits; `--short` takes seconds and
         proves nothing. Finished trials are kept in `--work`, and a run that
         was stopped goes on from there. JAX_COMPILATION_CACHE_DIR must not be
         set: it would spare the other arms what kd.tuner spares.
Minutes: about 12 on 2 cores, up to 30 on slow ones.
Expect:  cached / plain of 0.95 without the first trials, as plain compiles in
         each; keras / cached of 3.4, as keras / plain: a student's own training
         leaves no more. By multiplications it were (3 + 1 + 10) / 3 = 4.7, but
         those of the wide teacher take less time each than the student's.
Writes:  benchmarks/results/temperature_search.json, one entry per backend.
"""

import pathlib
import shutil
import statistics
import tempfile
from collections.abc import Callable
from typing import Any

import keras
import numpy as np

import keras_distill as kd
from benchmarks.harness import (
    CROSSENTROPY,
    Runs,
    arguments,
    digits,
    environment,
    kept_model,
    mlp,
    ratio,
    save,
    seconds,
    taking_turns,
)
from benchmarks.paper import mnist
from benchmarks.speed.temperature_search_arms import (
    BATCH,
    Arm,
    ours,
    plain,
    seeded_student,
    settings,
    theirs,
)

NAME = "temperature_search"
TEACHER = (2000, 2000)
FULL = {"trials": 20, "epochs": 5}
SHORT = {"trials": 2, "epochs": 1}


def images(data_dir: str | None) -> tuple:
    """Training images and labels, and 10,000 of them held out."""
    x, y = mnist.load("train", data_dir)
    return (x[:-10_000], y[:-10_000]), (x[-10_000:], y[-10_000:])


def small_images() -> tuple:
    x, y = digits()
    return (x[:1200], y[:1200]), (x[1200:], y[1200:])


def cached(
    teacher: keras.Model, train: tuple, folder: pathlib.Path, keep: Callable
) -> tuple[Any, float]:
    """The data with logits attached, and the seconds that it took."""

    def attached() -> Any:
        cache = kd.TeacherCache.build(
            teacher, train, folder, batch_size=BATCH, verbose=0
        )
        return cache.attach(train)

    def built() -> float:
        shutil.rmtree(folder, ignore_errors=True)
        return seconds(attached)

    time = keep("building", built)
    return attached(), time


def arm_summary(trials: list[dict], before: float) -> dict:
    scores = [trial["val_accuracy"] for trial in trials]
    times = [trial["seconds"] for trial in trials]
    return {
        "seconds": round(before + sum(times), 2),
        "cache_seconds": before,
        "best_val_accuracy": max(scores),
        "mean_val_accuracy": statistics.mean(scores),
        "trials": trials,
    }


def summary(trials: dict[str, list[dict]], building: float) -> dict:
    result: dict = {
        name: arm_summary(found, building if name == "cached" else 0.0)
        for name, found in trials.items()
    }
    whole = result["cached"]["seconds"]
    for name in ("live", "keras"):
        result[f"{name} / cached"] = round(result[name]["seconds"] / whole, 2)
        result[f"{name} - cached, val_accuracy"] = differences(
            trials[name], trials["cached"]
        )
    for name in ("cached", "live", "keras"):
        result[f"{name} / plain, later trials"] = over_plain(
            trials[name], trials["plain"]
        )
    return result


def over_plain(trials: list[dict], plain: list[dict]) -> float:
    """Median of the ratio, without what the first trials compile."""
    pairs = [
        (one["seconds"], other["seconds"])
        for one, other in zip(trials, plain, strict=True)
        if not (one["first of its process"] or other["first of its process"])
    ]
    return ratio(*map(list, zip(*pairs, strict=True)))


def differences(trials: list[dict], others: list[dict]) -> dict:
    """Mean and sd over trials with the same hyperparameters."""
    found = []
    for a, b in zip(trials, others, strict=True):
        for name in ("temperature", "soft_loss_weight"):
            assert np.isclose(a[name], b[name]), "the arms' trials differ"
        found.append(a["val_accuracy"] - b["val_accuracy"])
    return {"mean": float(np.mean(found)), "sd": float(np.std(found, ddof=1))}


def cost_ratio(teacher: keras.Model, student: keras.Model) -> float:
    """Multiplications of a forward pass of one and of the other."""

    def cost(model: keras.Model) -> int:
        return sum(int(np.prod(w.shape)) for w in model.weights)

    return round(cost(teacher) / cost(student), 2)


def trained(path: pathlib.Path, train: tuple) -> keras.Model:
    def make() -> keras.Model:
        keras.utils.set_random_seed(0)
        teacher = mlp(train[0].shape[1], *TEACHER)
        teacher.compile("adam", CROSSENTROPY)
        teacher.fit(*train, batch_size=BATCH, epochs=1, verbose=0)
        return teacher

    return kept_model(path, make)


def searched(
    made: dict[str, tuple], held_out: tuple, keep: Callable, size: dict
) -> dict[str, list[dict]]:
    """The trials of each arm, of its hypermodel and its data."""
    fit = {"validation_data": held_out, "epochs": size["epochs"]}
    with tempfile.TemporaryDirectory() as folder:
        arms = {
            name: Arm(hypermodel, name, folder, keep)
            for name, (hypermodel, _) in made.items()
        }
        for trial in range(size["trials"]):
            for name in taking_turns(arms, trial):
                arms[name].next_trial(*made[name][1], **fit)
    return {name: arm.trials for name, arm in arms.items()}


def main() -> None:
    flag = {"action": "store_true", "help": "small data"}
    options = arguments(__doc__, NAME, "data_dir", "work", digits=flag)
    small = options.digits or options.short
    size = SHORT if options.short else FULL
    train, held_out = small_images() if small else images(options.data_dir)
    setting = {
        "environment": environment("keras-tuner"),
        "data": "digits" if small else "mnist",
        "images": [len(train[0]), len(held_out[0])],
        "epochs": size["epochs"],
        "batch_size": BATCH,
    }
    work = pathlib.Path(options.work, keras.backend.backend(), setting["data"])
    runs, features = Runs(work / "runs"), train[0].shape[1]

    def keep(name: str, make: Callable) -> Any:
        return runs(name, setting, make)

    teacher = trained(work / "teacher.keras", train)
    attached, building = cached(teacher, train, work / "cache", keep)
    made = {
        "cached": (ours(None, features), attached),
        "live": (ours(teacher, features), train),
        "keras": (theirs(teacher, features), train),
        "plain": (plain(features), train),
    }
    trials = searched(made, held_out, keep, size)
    teacher.compile(**settings())
    accuracy = teacher.evaluate(*held_out, verbose=0)[1]
    results = {
        **setting,
        "trials": size["trials"],
        "teacher_val_accuracy": float(accuracy),
        "parameters, teacher / student": cost_ratio(
            teacher, seeded_student(features)
        ),
        **summary(trials, building),
    }
    save(NAME, results, options.out, by_backend=True)
    for key, value in results.items():
        if " / " in key or " - " in key:
            print(f"{key}: {value}")


if __name__ == "__main__":
    main()
