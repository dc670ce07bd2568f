"""MNIST, and the networks of Hinton et al. 2015, section 3."""

import pathlib

import keras
import numpy as np

TRAINING, HELD_OUT = 60_000, 10_000
BATCH, TEACHER_BATCH = 500, 250
CROSSENTROPY = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
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
    hidden = [keras.layers.Dense(units, "relu") for _ in range(2)]
    return keras.Sequential(
        [keras.Input((784,)), *hidden, keras.layers.Dense(10)]
    )


def teacher_network(units: int) -> keras.Model:
    layers = [keras.Input((784,))]
    for _ in range(2):
        limit = keras.constraints.MaxNorm(MAX_NORM)
        layers.append(
            keras.layers.Dense(units, "relu", kernel_constraint=limit)
        )
        layers.append(keras.layers.Dropout(DROPOUT))
    return keras.Sequential([*layers, keras.layers.Dense(10)])


def adam(
    examples: int, epochs: int, batch: int = BATCH, rate: float = 1e-3
) -> keras.Optimizer:
    """Adam whose learning rate falls to 0 along a cosine."""
    steps = epochs * -(-examples // batch)
    return keras.optimizers.Adam(
        keras.optimizers.schedules.CosineDecay(rate, steps)
    )


def train_teacher(
    train: tuple,
    epochs: int,
    seed: int,
    path: pathlib.Path,
    units: int = 1200,
) -> keras.Model:
    """The teacher, trained on shifted images, or read from `path`."""
    if path.exists():
        return keras.models.load_model(path)
    keras.utils.set_random_seed(seed)
    teacher = teacher_network(units)
    x, y = train
    teacher.compile(adam(len(x), epochs, TEACHER_BATCH), CROSSENTROPY)
    generator = np.random.default_rng(seed)
    for _ in range(epochs):
        # Every epoch has its own shifts.
        teacher.fit(
            jitter(x, generator), y, batch_size=TEACHER_BATCH, verbose=0
        )
    temporary = path.with_name(f"new-{path.name}")
    teacher.save(temporary)
    temporary.replace(path)
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
