"""MNIST, and the networks of Hinton et al. 2015, section 3."""

import pathlib

import keras
import numpy as np

from benchmarks.harness import CROSSENTROPY, adam, kept_model, mlp

TRAINING, HELD_OUT = 60_000, 10_000
BATCH, TEACHER_BATCH = 500, 250
# As in the recipe that the paper cites, arXiv 1207.0580, but for its dropout of
# 20 % of the pixels: held-out images were no better for it in as many epochs.
MAX_NORM, DROPOUT = 15**0.5, 0.5
JITTER = 2  # pixels


def load(split: str, data_dir: str | None) -> tuple[np.ndarray, np.ndarray]:
    """Images of shape `(n, 784)`, between 0 and 1, and labels."""
    import tensorflow_datasets as tfds

    data = tfds.load("mnist", split=split, data_dir=data_dir, batch_size=-1)
    data = tfds.as_numpy(data)
    x = data["image"].reshape(len(data["image"]), -1).astype("float32") / 255
    return x, data["label"].astype("int32")


def hold_out(x: np.ndarray, y: np.ndarray, held_out: int = HELD_OUT) -> tuple:
    """Training images, and the same random ones held out every time."""
    order = np.random.default_rng(0).permutation(len(x))
    kept, rest = order[:-held_out], order[-held_out:]
    return (x[kept], y[kept]), (x[rest], y[rest])


def student_network(units: int) -> keras.Model:
    """Two layers of ReLU units, no regularisation."""
    return mlp(784, units, units)


def teacher_network(units: int) -> keras.Model:
    layers = [keras.Input((784,))]
    for _ in range(2):
        limit = keras.constraints.MaxNorm(MAX_NORM)
        layers.append(
            keras.layers.Dense(units, "relu", kernel_constraint=limit)
        )
        layers.append(keras.layers.Dropout(DROPOUT))
    return keras.Sequential([*layers, keras.layers.Dense(10)])


def kept_teacher(
    path: pathlib.Path, train: tuple, units: int, epochs: int, seed: int
) -> keras.Model:
    """The teacher at `path`, trained now or before."""
    return kept_model(path, lambda: train_teacher(train, units, epochs, seed))


def train_teacher(
    train: tuple, units: int, epochs: int, seed: int
) -> keras.Model:
    """Trains on shifted images; every epoch has its own shifts."""
    keras.utils.set_random_seed(seed)
    teacher = teacher_network(units)
    x, y = train
    steps = epochs * -(-len(x) // TEACHER_BATCH)
    teacher.compile(adam(1e-3, steps), CROSSENTROPY)
    generator = np.random.default_rng(seed)
    for _ in range(epochs):
        teacher.fit(
            jitter(x, generator), y, batch_size=TEACHER_BATCH, verbose=0
        )
    return teacher


def jitter(x: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Images shifted by up to 2 pixels in each direction."""
    images = x.reshape(-1, 28, 28)
    margin = ((0, 0), (JITTER, JITTER), (JITTER, JITTER))
    views = np.lib.stride_tricks.sliding_window_view(
        np.pad(images, margin), (28, 28), axis=(1, 2)
    )
    down, right = generator.integers(0, 2 * JITTER + 1, (2, len(x)))
    return views[np.arange(len(x)), down, right].reshape(len(x), -1)


def errors(model: keras.Model, x: np.ndarray, y: np.ndarray) -> int:
    """Wrong answers."""
    logits = model.predict(x, batch_size=1000, verbose=0)
    return int(np.sum(np.argmax(logits, axis=-1) != y))
