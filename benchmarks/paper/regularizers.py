"""Students on few labels or on wrong ones, with and without soft targets."""

import dataclasses
import pathlib
from collections.abc import Callable
from typing import Any

import keras
import numpy as np

import keras_distill as kd
from benchmarks.harness import CROSSENTROPY, Runs, adam, summary

TUNING_SEED = 100
LABELS, SOFT = "labels", "soft targets"
HARD = 0.5  # Weight of labels beside soft targets, as in the paper's section 4.
ROUNDS = 10  # Looks at the held-out examples in a run, for early stopping.
MIN_EPOCHS = 3


@dataclasses.dataclass(frozen=True)
class Task:
    """Data in rows; what is drawn, an image or a recording, is a unit."""

    name: str
    train: tuple[np.ndarray, np.ndarray]
    held_out: tuple[np.ndarray, np.ndarray]
    test: tuple[np.ndarray, np.ndarray]
    unit_of_row: np.ndarray
    unit_labels: np.ndarray
    student: Callable[[], keras.Model]
    # Further figures on the test set.
    extra: Callable[[keras.Model], dict] = lambda model: {}


def balanced_subset(labels: np.ndarray, share: float, seed: int) -> np.ndarray:
    """Sorted indices of a share of the examples, as many of each class."""
    generator = np.random.default_rng(seed)
    classes = np.unique(labels)
    count = max(1, round(share * len(labels) / len(classes)))
    chosen = [
        generator.permutation(np.flatnonzero(labels == label))[:count]
        for label in classes
    ]
    return np.sort(np.concatenate(chosen))


def flip_labels(
    labels: np.ndarray, share: float, classes: int, seed: int
) -> np.ndarray:
    """The labels, a share of them replaced by a random wrong class."""
    generator = np.random.default_rng(seed)
    count = round(share * len(labels))
    flipped = generator.permutation(len(labels))[:count]
    noisy = labels.copy()
    shift = generator.integers(1, classes, count)
    noisy[flipped] = (noisy[flipped] + shift) % classes
    return noisy


def rows_of(task: Task, share: float, seed: int) -> np.ndarray:
    """Rows of a balanced share of the training units."""
    if share == 1:
        return np.arange(len(task.unit_of_row))
    units = balanced_subset(task.unit_labels, share, seed)
    return np.flatnonzero(np.isin(task.unit_of_row, units))


def with_logits(
    teacher: keras.Model, data: tuple, folder: pathlib.Path
) -> tuple:
    """The data with the teacher's logits attached; it runs once."""
    cache = kd.TeacherCache.build(teacher, data, folder, verbose=0)
    return cache.attach(data)


def take(data: tuple, rows: np.ndarray) -> tuple:
    return keras.tree.map_structure(lambda array: array[rows], data)


def accuracy(model: keras.Model, data: tuple, batch: int = 1000) -> float:
    """Not by `predict`, which would compile every student and size anew."""
    x, y = data
    answers = [
        keras.ops.argmax(model(x[start : start + batch], training=False), -1)
        for start in range(0, len(x), batch)
    ]
    answers = [keras.ops.convert_to_numpy(some) for some in answers]
    return float(np.mean(np.concatenate(answers) == y))


def setting(
    rate: float, temperature: float | None = None, hard: float = 0.0
) -> dict:
    """Of a student's training; without a temperature, on labels alone."""
    return {
        "learning_rate": rate,
        "temperature": temperature,
        "hard_loss_weight": 1.0 if temperature is None else hard,
    }


def model_to_fit(student: keras.Model, how: dict) -> keras.Model:
    """A Distiller where there is a temperature."""
    if how["temperature"] is None:
        return student
    return kd.Distiller(
        None,
        student,
        kd.losses.SoftTargets(how["temperature"]),
        hard_loss_weight=how["hard_loss_weight"],
        soft_loss_weight=1 - how["hard_loss_weight"],
    )


def train(
    student: keras.Model,
    how: dict,
    data: tuple,
    stop: tuple,
    steps: int,
    batch: int,
) -> tuple[list[float], list[np.ndarray]]:
    """Trains to the end, and keeps the best state on `stop`.

    The best state is that of early stopping with unlimited patience. Returns
    the accuracy on `stop` after each round, and the best weights.
    """
    x, y = data
    per_epoch = -(-len(y) // batch)
    epochs = max(MIN_EPOCHS, round(steps / per_epoch))
    model = model_to_fit(student, how)
    optimizer = adam(how["learning_rate"], epochs * per_epoch)
    model.compile(optimizer, CROSSENTROPY)
    x = x.inputs if model is student else x
    curve: list[float] = []
    best = student.get_weights()
    for part in np.array_split(np.arange(epochs), min(ROUNDS, epochs)):
        model.fit(x, y, batch_size=batch, epochs=len(part), verbose=0)
        score = accuracy(student, stop)
        if score > max(curve, default=0.0):
            best = student.get_weights()
        curve.append(score)
    return curve, best


class Students:
    """Trains students, or reads the scores of those trained before."""

    def __init__(self, runs: Runs, plan: Any) -> None:
        self.runs, self.plan = runs, plan

    def __call__(
        self,
        name: str,
        network: Callable[[], keras.Model],
        how: dict,
        data: tuple,
        stop: tuple,
        seed: int,
        scores: Callable[[keras.Model], dict],
    ) -> dict:
        """Scores in the last state and, if trained on labels, in the best."""

        def make() -> dict:
            keras.utils.set_random_seed(seed)
            student = network()
            curve, best = train(
                student, how, data, stop, self.plan.steps, self.plan.batch
            )
            result = {"last": scores(student), "held_out_by_round": curve}
            if how["temperature"] is None:
                student.set_weights(best)
                result["best"] = scores(student)
            return result

        return self.runs(name, {"how": how, **self.plan.training()}, make)


def summarised(results: list[dict], arms: dict) -> dict:
    """Mean, sd and values of each score of each arm, over the seeds."""
    return {
        name: {
            score: summary(result[arm][state][score] for result in results)
            for score in results[0][arm][state]
        }
        for name, (arm, state) in arms.items()
        if arm in results[0]
    }


def best(tried: list[dict]) -> dict:
    """The setting with the highest held-out score."""
    winner = max(tried, key=lambda entry: entry["held_out"])
    return {key: winner[key] for key in setting(0.0)}
