"""Data and networks of `soft_targets_as_regularizers.py`."""

import dataclasses
import pathlib
from typing import Any

import keras
import numpy as np

from benchmarks.harness import CROSSENTROPY, adam, digits, kept_model
from benchmarks.paper import mnist, speech
from benchmarks.paper.regularizers import Task, with_logits

SPEECH_BATCH, SPEECH_DROPOUT = 250, 0.2  # Of the teacher.


@dataclasses.dataclass(frozen=True)
class Plan:
    """Sizes of an experiment, and what is searched."""

    seeds: int = 5
    shares: tuple[float, ...] = (0.01, 0.03, 0.1)
    levels: tuple[float, ...] = (0.0, 0.2, 0.4)
    rates: tuple[float, ...] = (1e-3, 3e-4, 3e-3, 1e-2)
    temperatures: tuple[float, ...] = (5.0, 1.0, 2.0, 20.0)
    steps: int = 6_000
    curve: tuple[int, ...] = (500, 2_000, 6_000, 20_000)
    batch: int = 100
    units: int = 800
    teacher_units: int = 1200
    teacher_epochs: int = 12
    stop: int = 2500  # Held-out examples for early stopping.
    images: int = 50_000

    def training(self) -> dict[str, Any]:
        """What one student's training depends on."""
        searched = ("seeds", "shares", "levels", "rates", "temperatures")
        searched += ("curve",)
        settings = dataclasses.asdict(self)
        return {k: v for k, v in settings.items() if k not in searched}


MNIST = Plan()
SPEECH = Plan(units=512, teacher_units=512, teacher_epochs=10)
NOISE = Plan(
    rates=(1e-3,),
    temperatures=(1.0, 5.0, 20.0),
    steps=1000,
    units=300,
    teacher_units=600,
    teacher_epochs=30,
    images=5_000,
)
SHORT = Plan(
    seeds=1,
    shares=(0.1,),
    levels=(0.4,),
    rates=(3e-3,),
    temperatures=(2.0,),
    steps=60,
    curve=(30, 60),
    batch=50,
    units=30,
    teacher_units=100,
    teacher_epochs=20,
    stop=300,
    images=600,
)


def enlarged_digits() -> tuple:
    """Scikit-learn's digits in the shape of MNIST."""
    x, y = digits()
    images = np.kron(x.reshape(-1, 8, 8), np.ones((3, 3), "float32"))
    x = np.pad(images, ((0, 0), (2, 2), (2, 2))).reshape(len(x), -1)
    return (x[:1400], y[:1400]), (x[1400:], y[1400:])


def image_task(options: Any, plan: Plan) -> Task:
    if options.short:
        training, test = enlarged_digits()
        train, held_out = mnist.hold_out(*training, held_out=400)
    else:
        training = mnist.load("train", options.data_dir)
        test = mnist.load("test", options.data_dir)
        train, held_out = mnist.hold_out(*training)
    return Task(
        name="mnist",
        train=train,
        held_out=held_out,
        test=test,
        unit_of_row=np.arange(len(train[1])),
        unit_labels=train[1],
        student=lambda: mnist.student_network(plan.units),
    )


def image_teacher(
    work: pathlib.Path, train: tuple, plan: Plan, seed: int, of: str
) -> tuple[keras.Model, tuple]:
    """A teacher, and its training data with its logits."""
    name = f"{of}-{plan.teacher_units}-{plan.teacher_epochs}-{seed}"
    teacher = mnist.kept_teacher(
        work / f"{name}.keras",
        train,
        plan.teacher_units,
        plan.teacher_epochs * -(-len(train[1]) // mnist.TEACHER_BATCH),
        seed,
    )
    return teacher, with_logits(teacher, train, work / f"{name}-logits")


def synthetic() -> speech.Recordings:
    """Recordings in which each digit has a pattern, and much noise."""
    generator = np.random.default_rng(0)
    patterns = generator.normal(size=(10, 8, speech.BANDS))
    digit, speaker, take = np.meshgrid(
        np.arange(10), np.arange(2), np.arange(25), indexing="ij"
    )
    noise = generator.normal(0, 3, size=(digit.size, *patterns.shape[1:]))
    return speech.Recordings(
        list(patterns[digit.ravel()] + noise),
        digit.ravel().astype("int32"),
        speaker.ravel().astype(str),
        take.ravel().astype("int32"),
    )


def speech_task(options: Any, plan: Plan) -> Task:
    if options.short:
        recordings = synthetic()
    else:
        recordings = speech.load(options.data_dir)
    chosen, held_out = speech.split_by_take(recordings, held_out=True)
    _, test = speech.split_by_take(recordings)
    x, y, utterance = speech.frames(recordings, chosen, chosen)
    test_frames = speech.frames(recordings, test, chosen)
    _, unit_of_row = np.unique(utterance, return_inverse=True)
    return Task(
        name="spoken_digits",
        train=(x, y),
        held_out=speech.frames(recordings, held_out, chosen)[:2],
        test=test_frames[:2],
        unit_of_row=unit_of_row,
        unit_labels=recordings.digits[chosen],
        student=lambda: speech.network(plan.units, dropout=0.0),
        extra=lambda model: {
            "utterance error": speech.utterance_error(model, *test_frames)
        },
    )


def speech_teacher(
    work: pathlib.Path, train: tuple, plan: Plan
) -> tuple[keras.Model, tuple]:
    """The student's network with dropout, trained on all training frames."""
    name = f"spoken-digits-{plan.teacher_units}-{plan.teacher_epochs}"
    teacher = kept_model(
        work / f"{name}.keras", lambda: train_speech_teacher(train, plan)
    )
    return teacher, with_logits(teacher, train, work / f"{name}-logits")


def train_speech_teacher(train: tuple, plan: Plan) -> keras.Model:
    keras.utils.set_random_seed(0)
    teacher = speech.network(plan.teacher_units, dropout=SPEECH_DROPOUT)
    steps = plan.teacher_epochs * -(-len(train[1]) // SPEECH_BATCH)
    teacher.compile(adam(1e-3, steps), CROSSENTROPY)
    teacher.fit(
        *train,
        batch_size=SPEECH_BATCH,
        epochs=plan.teacher_epochs,
        verbose=0,
    )
    return teacher
