"""All losses on one task, each tuned as long as the others.

Question: which loss of logits or of features should a user try, what does it
cost, and what does not help?

A convolutional network is trained on 1,200 of scikit-learn's digits, and a
student of a ninth of its weights on 100 of these, ten of each digit, for 1,000
steps of Adam whose rate falls to 0. Each arm has 8 settings, of its own
numbers and of an L2 penalty; the best is the one with the highest mean accuracy
on 200 held-out images over 3 splits of the 1,200, of which teacher and student
have seen none. The 597 other images are looked at once, after the last step of
10 students of each arm (initial weights and images), which give means, standard
deviations and the difference from soft targets seed by seed, with a 95 %
interval of Student's t. Features are those of the last convolution. Losses of
logits are in `kd.losses` by these names; the labels' weight is in the report.

Times are those of a step of an arm over one of `SoftTargets`, medians of fits
that take turns in one process.

Command: KERAS_BACKEND=jax python -m benchmarks.methods
         `--part NAME` runs one part (tuning, test, time), so that two processes
         can share the work; `--short` takes seconds and proves nothing.
Minutes: 40 on one core.
Writes:  benchmarks/results/methods.json, once all parts are there; the runs
         themselves in .work/methods.
"""

import statistics
from dataclasses import asdict, dataclass
from typing import Any

import keras
import numpy as np
from keras import layers

import keras_distill as kd
from benchmarks.harness import (
    CROSSENTROPY,
    Runs,
    adam,
    arguments,
    digits,
    environment,
    interleaved,
    ratio,
    save,
    summary,
)
from benchmarks.methods_arms import ARMS, LABELS, SOFT_TARGETS, Arm, Values
from benchmarks.paper.digits_training import (
    HELD_OUT_IMAGES,
    TEST_IMAGES,
    TRANSFER_IMAGES,
    calibration_images,
    measure,
    measure_calibrated,
    split,
    transfer_images,
)

NAME = "methods"
SCORES = ("accuracy", "agreement", "nll", "nll_calibrated")
SCORES += ("ece", "ece_calibrated")


@dataclass(frozen=True)
class Size:
    """How long and how often; `--short` is small."""

    teacher_epochs: int = 40
    steps: int = 1000
    splits: int = 3
    seeds: int = 10
    settings: int | None = None
    repeats: int = 15
    arms: tuple[str, ...] = tuple(arm.name for arm in ARMS)


SHORT = Size(
    teacher_epochs=5,
    steps=60,
    splits=1,
    seeds=2,
    settings=1,
    repeats=2,
    arms=(LABELS, SOFT_TARGETS, f"{SOFT_TARGETS}, RKD"),
)


def network(channels: int, l2: float = 0.0) -> keras.Model:
    """Two blocks of a convolution and a pooling, which have paths."""
    penalty = keras.regularizers.L2(l2) if l2 else None
    convolution = {"padding": "same", "kernel_regularizer": penalty}

    def block(channels: int, name: str) -> keras.Model:
        maps = layers.Conv2D(channels, 3, name="map", **convolution)
        stack = [maps, layers.ReLU(), layers.MaxPooling2D()]
        return keras.Sequential(stack, name=name)

    inputs = keras.Input((8, 8, 1))
    maps = block(channels, "early")(inputs)
    maps = layers.Flatten()(block(2 * channels, "late")(maps))
    head = layers.Dense(10, kernel_regularizer=penalty)
    return keras.Model(inputs, head(maps))


def load() -> tuple[tuple, tuple]:
    x, y = digits()
    return split(x.reshape(-1, 8, 8, 1), y, TEST_IMAGES, seed=0)


def train_teacher(train: tuple, size: Size, seed: int) -> keras.Model:
    keras.utils.set_random_seed(seed)
    teacher = network(16)
    teacher.compile("adam", CROSSENTROPY)
    teacher.fit(*train, batch_size=32, epochs=size.teacher_epochs, verbose=0)
    return teacher


def student_of(
    teacher: keras.Model, arm: Arm, values: Values, steps: int, seed: int
) -> kd.Distiller:
    keras.utils.set_random_seed(seed)
    student = network(4, values["l2"])
    distiller = kd.Distiller(teacher, student, **arm.objective(values))
    distiller.compile(adam(values.get("rate", 1e-2), steps), CROSSENTROPY)
    return distiller


def fit(distiller: kd.Distiller, data: tuple, steps: int) -> None:
    """Each batch is the whole transfer set; an epoch has all steps."""
    x, y = data
    x, y = np.tile(x, (steps, 1, 1, 1)), np.tile(y, steps)
    distiller.fit(x, y, batch_size=len(data[0]), shuffle=False, verbose=0)


class Study:
    """The data, the teachers and the runs."""

    def __init__(self, size: Size, runs: Runs) -> None:
        self.size, self.runs = size, runs
        self.train, self.test = load()
        self.arms = [arm for arm in ARMS if arm.name in size.arms]
        self._teachers: dict[Any, tuple] = {}

    def parts(self, held_out: bool, seed: int) -> tuple:
        """A teacher, what it was trained on, and what scores are of."""
        key = (held_out, seed if held_out else 0)
        if key not in self._teachers:
            train, other = self.train, self.test
            if held_out:
                train, other = split(*train, HELD_OUT_IMAGES, seed)
            teacher = train_teacher(train, self.size, key[1])
            self._teachers[key] = teacher, train, other
        return self._teachers[key]

    def scores(
        self, arm: Arm, values: Values, held_out: bool, seed: int
    ) -> dict[str, float]:
        """Of one student, trained now or before."""
        which = "held out" if held_out else "test"
        name = f"{which}, {arm.name}, {values}, seed {seed}"
        settings = {
            "teacher_epochs": self.size.teacher_epochs,
            "steps": self.size.steps,
            "values": values,
            "backend": keras.backend.backend(),
        }
        return self.runs(
            name, settings, lambda: self._trained(arm, values, held_out, seed)
        )

    def _trained(
        self, arm: Arm, values: Values, held_out: bool, seed: int
    ) -> dict[str, float]:
        teacher, train, other = self.parts(held_out, seed)
        steps = self.size.steps
        distiller = student_of(teacher, arm, values, steps, seed)
        fit(distiller, transfer_images(train, seed)[0], steps)
        student = distiller.student
        if held_out:
            return measure(teacher, student, other)
        unseen = calibration_images(train, seed)
        return measure(teacher, student, other) | measure_calibrated(
            teacher, student, other, unseen
        )


# Each part returns what the report says of it.


def tuning(study: Study) -> dict[str, list[dict]]:
    """Accuracy of each setting on held-out images, the best first."""
    found = {}
    for arm in study.arms:
        tried = []
        for values in arm.settings()[: study.size.settings]:
            splits = range(study.size.splits)
            scores = [study.scores(arm, values, True, s) for s in splits]
            accuracies = [score["accuracy"] for score in scores]
            tried.append({"values": values, "held_out": accuracies})
        found[arm.name] = sorted(tried, key=lambda one: -mean(one["held_out"]))
    return found


def mean(values: list[float]) -> float:
    return statistics.fmean(values)


def chosen(study: Study) -> dict[str, Values]:
    return {name: tried[0]["values"] for name, tried in tuning(study).items()}


def test(study: Study) -> dict[str, dict]:
    """Scores of each arm with its best setting, and gains over another."""
    best, seeds = chosen(study), range(study.size.seeds)
    runs = {
        arm.name: [study.scores(arm, best[arm.name], False, s) for s in seeds]
        for arm in study.arms
    }
    base = [run["accuracy"] for run in runs[SOFT_TARGETS]]
    return {
        name: {
            "teacher": own[0]["teacher_accuracy"],
            **{score: summary(run[score] for run in own) for score in SCORES},
            "over soft targets": paired([run["accuracy"] for run in own], base),
        }
        for name, own in runs.items()
    }


def paired(values: list[float], base: list[float]) -> dict[str, Any]:
    """Differences with half of a 95 % interval."""
    from scipy import stats

    found = summary(np.subtract(values, base).tolist())
    count = len(values)
    quantile = stats.t.ppf(0.975, count - 1)
    return {**found, "half": float(quantile * found["sd"] / count**0.5)}


def time(study: Study) -> dict[str, float]:
    """Time of a step over that of one of soft targets."""
    teacher, train, _ = study.parts(False, 0)
    data, _ = transfer_images(train, 0)
    steps = min(100, study.size.steps)
    best, arms = chosen(study), {}
    for arm in study.arms:
        distiller = student_of(teacher, arm, best[arm.name], steps, 0)
        arms[arm.name] = lambda d=distiller: fit(d, data, steps)
    taken = interleaved(arms, study.size.repeats)
    return {
        name: ratio(seconds, taken[SOFT_TARGETS])
        for name, seconds in taken.items()
    }


PARTS = {"tuning": tuning, "test": test, "time": time}


def main() -> None:
    part = {"choices": list(PARTS), "action": "append"}
    options = arguments(__doc__, NAME, "work", part=part)
    study = Study(SHORT if options.short else Size(), Runs(options.work))
    found = {part: PARTS[part](study) for part in options.part or PARTS}
    if options.part:
        return
    result = {
        "environment": environment("scikit-learn"),
        "size": asdict(study.size),
        "transfer_images": TRANSFER_IMAGES,
        "test_images": TEST_IMAGES,
        "parameters": {
            "teacher": network(16).count_params(),
            "student": network(4).count_params(),
        },
        **found,
    }
    print(save(NAME, result, options.out))


if __name__ == "__main__":
    main()
