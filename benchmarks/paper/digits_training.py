"""Data, networks and training of `digits.py`."""

import itertools
from dataclasses import dataclass

import keras
import numpy as np
from keras import layers

import keras_distill as kd
from benchmarks.harness import CROSSENTROPY, digits

TRANSFER_IMAGES = 100
TEST_IMAGES = 597
HELD_OUT_IMAGES = 200


@dataclass(frozen=True)
class Arm:
    """One way to train the student."""

    name: str
    loss: str
    temperature: float
    hard_loss_weight: float
    soft_loss_weight: float
    l2: float = 0.0
    learning_rate: float = 0.01


def labels_only(l2: float, learning_rate: float) -> Arm:
    return Arm("labels only", "SoftTargets", 1.0, 1.0, 0.0, l2, learning_rate)


def soft_targets(temperature: float, hard: float, l2: float) -> Arm:
    return Arm("soft targets", "SoftTargets", temperature, hard, 1 - hard, l2)


def wttm(temperature: float, beta: float, l2: float) -> Arm:
    return Arm("WTTM", "WTTM", temperature, 1.0, beta, l2)


# What --tune tries, and what it found best on held-out training images.
GRID = [
    *itertools.starmap(
        labels_only, itertools.product([0, 1e-3, 3e-3, 1e-2], [0.003, 0.01])
    ),
    *itertools.starmap(
        soft_targets, itertools.product([4.0, 8.0], [0.1, 0.5], [0, 1e-3])
    ),
    *itertools.starmap(
        wttm, itertools.product([2.0, 4.0], [2.0, 8.0], [0, 1e-3])
    ),
]
ARMS = [
    labels_only(l2=3e-3, learning_rate=0.003),
    soft_targets(temperature=8.0, hard=0.5, l2=1e-3),
    wttm(temperature=4.0, beta=2.0, l2=1e-3),
]


def load_data() -> tuple[tuple, tuple]:
    """Training and test images, pixels in a row, with their digits."""
    return split(*digits(), TEST_IMAGES, seed=0)


def split(
    x: np.ndarray, y: np.ndarray, held_out: int, seed: int
) -> tuple[tuple, tuple]:
    """Two pairs (x, y), each with as many of every digit as of any other."""
    from sklearn.model_selection import train_test_split

    x_train, x_test, y_train, y_test = train_test_split(
        x, y, test_size=held_out, stratify=y, random_state=seed
    )
    return (x_train, y_train), (x_test, y_test)


def wide_network() -> keras.Model:
    return keras.Sequential(
        [
            keras.Input((64,)),
            layers.Dropout(0.2),
            layers.Dense(400, "relu"),
            layers.Dropout(0.5),
            layers.Dense(400, "relu"),
            layers.Dropout(0.5),
            layers.Dense(10),
        ],
        name="teacher",
    )


def small_network(l2: float) -> keras.Model:
    penalty = keras.regularizers.L2(l2) if l2 else None
    return keras.Sequential(
        [
            keras.Input((64,)),
            layers.Dense(32, "relu", kernel_regularizer=penalty),
            layers.Dense(10, kernel_regularizer=penalty),
        ],
        name="student",
    )


def train_teacher(train: tuple, epochs: int, seed: int = 0) -> keras.Model:
    keras.utils.set_random_seed(seed)
    teacher = wide_network()
    teacher.compile("adam", CROSSENTROPY)
    teacher.fit(*train, batch_size=100, epochs=epochs, verbose=0)
    return teacher


def train_student(
    arm: Arm, teacher: keras.Model, train: tuple, steps: int, seed: int
) -> keras.Model:
    """All three arms: weight 0 turns the distillation loss off."""
    keras.utils.set_random_seed(seed)
    distiller = kd.Distiller(
        teacher,
        small_network(arm.l2),
        getattr(kd.losses, arm.loss)(temperature=arm.temperature),
        hard_loss_weight=arm.hard_loss_weight,
        soft_loss_weight=arm.soft_loss_weight,
    )
    optimizer = keras.optimizers.Adam(arm.learning_rate)
    distiller.compile(optimizer, CROSSENTROPY)
    distiller.fit(
        *transfer_set(train, steps, seed),
        batch_size=TRANSFER_IMAGES,
        shuffle=False,
        verbose=0,
    )
    return distiller.student


def transfer_set(train: tuple, steps: int, seed: int) -> tuple:
    """Ten images of each digit, repeated so that one epoch has all steps.

    Each batch is the whole transfer set; 300 epochs of one batch would do the
    same and spend most of their time between the epochs.
    """
    (x, y), _ = transfer_images(train, seed)
    return np.tile(x, (steps, 1)), np.tile(y, steps)


def transfer_images(train: tuple, seed: int) -> tuple[tuple, tuple]:
    """Those that the student learns from, and the others."""
    return split(*train, len(train[0]) - TRANSFER_IMAGES, seed)


def calibration_images(train: tuple, seed: int) -> tuple:
    """As many that the student has not seen, to fit one number by."""
    _, others = transfer_images(train, seed)
    return transfer_images(others, seed)[0]


def measure(teacher: keras.Model, student: keras.Model, test: tuple) -> dict:
    """Accuracy, agreement and calibration, in one batch."""
    fidelity = kd.evaluate_fidelity(
        teacher, student, test, batch_size=len(test[0]), verbose=0
    )
    return {
        "accuracy": fidelity["student_accuracy"],
        "agreement": fidelity["agreement_at_1"],
        "nll": fidelity["student_nll"],
        "ece": fidelity["student_ece"],
        "teacher_accuracy": fidelity["teacher_accuracy"],
    }


def measure_calibrated(
    teacher: keras.Model, student: keras.Model, test: tuple, held_out: tuple
) -> dict:
    """Likelihood and calibration error at the temperature fitted before."""
    temperature = kd.bias.fit_temperature(student, held_out)
    scaled = kd.bias.scale_logits(student, 1 / temperature)
    found = measure(teacher, scaled, test)
    return {
        "temperature": temperature,
        "nll_calibrated": found["nll"],
        "ece_calibrated": found["ece"],
    }
