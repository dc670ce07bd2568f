"""100 confusable classes: two digits side by side, and a narrow network."""

import keras
import numpy as np

from benchmarks.harness import CROSSENTROPY, adam, digits
from benchmarks.paper import mnist

CLASSES = 100
NAMES = [f"{number:02d}" for number in range(CLASSES)]
UNITS = 8


def load(short: bool, data_dir: str | None) -> dict:
    """Images for choices and for the test: pairs of (train, test)."""
    if short:
        x, y = digits()
        return {
            "tune": ((x[:1000], y[:1000]), (x[1000:1200], y[1000:1200])),
            "test": ((x[:1200], y[:1200]), (x[1200:], y[1200:])),
        }
    train, tests = mnist.load("train", data_dir), mnist.load("test", data_dir)
    train, tests = ((halved(x), y) for x, y in (train, tests))
    kept, held_out = mnist.hold_out(*train)
    return {"tune": (kept, held_out), "test": (kept, tests)}


def halved(x: np.ndarray) -> np.ndarray:
    """28 x 28 pixels as means over 2 x 2."""
    return x.reshape(-1, 14, 2, 14, 2).mean(axis=(2, 4)).reshape(len(x), -1)


def pairs(x: np.ndarray, y: np.ndarray, count: int, seed: int) -> tuple:
    """Random pairs of images side by side, and their two-digit numbers."""
    left, right = np.random.default_rng(seed).integers(0, len(x), (2, count))
    numbers = 10 * y[left] + y[right]
    return np.concatenate([x[left], x[right]], axis=1), numbers.astype("int32")


def members(class_sets: list) -> np.ndarray:
    """Which classes are in which set, booleans of shape `(sets, classes)`."""
    found = np.zeros((len(class_sets), CLASSES), bool)
    for row, classes in zip(found, class_sets, strict=True):
        row[classes] = True
    return found


def network(
    features: int, units: int = UNITS, scale: float = 1.0
) -> keras.Model:
    """One narrow layer: too small for 100 classes.

    Of so few ReLU units some die, which would cost more than anything that is
    compared here. The logits may be a multiple of what the last layer gives:
    the same functions then take other steps to learn.
    """
    hidden = keras.layers.Dense(units, "tanh")
    layers = [keras.Input((features,)), hidden, keras.layers.Dense(CLASSES)]
    if scale != 1:
        layers.append(keras.layers.Rescaling(scale))
    return keras.Sequential(layers)


def fit(
    model: keras.Model, train: tuple, epochs: int, batch: int, rate: float
) -> keras.Model:
    """Trains on labels; the model goes on from the weights that it has."""
    steps = epochs * -(-len(train[0]) // batch)
    model.compile(adam(rate, steps), CROSSENTROPY)
    model.fit(*train, batch_size=batch, epochs=epochs, verbose=0)
    return model
