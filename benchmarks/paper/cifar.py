"""CIFAR-10 as JPEG: its images, random views of them, and networks."""

import pathlib

import keras
import numpy as np
from keras import layers

import keras_distill as kd
from benchmarks.harness import CROSSENTROPY, adam

SIDE, MARGIN = 32, 4  # pixels
BATCH = 100
# Updates at a time, for a GPU; the weights are the same.
AT_A_TIME = 10
DECAY = 0.01
# Numbers of the views that a teacher learns from; no student sees them.
OF_TEACHERS = 1000

Stages = tuple[tuple[int, int], ...]


def load(split: str, data_dir: str) -> tuple[np.ndarray, np.ndarray]:
    """Images of shape `(n, 32, 32, 3)`, bytes, and labels.

    Args:
        split: "train" or "test".
        data_dir: Folder of TFDS data that holds `cifar10_jpeg`, which are
            CIFAR-10's images as JPEG files; no download has them.
    """
    import tensorflow_datasets as tfds

    folder = pathlib.Path(data_dir, "cifar10_jpeg", "1.0.0")
    builder = tfds.builder_from_directory(str(folder))
    data = tfds.as_numpy(builder.as_dataset(split, batch_size=-1))
    return data["image"], data["label"].astype("int32")


def made_up(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Noise in a colour of its own for each class, for a quick check."""
    colours = np.random.default_rng(0).uniform(60, 200, (10, 1, 1, 3))
    generator = np.random.default_rng(seed)
    y = generator.integers(0, 10, count).astype("int32")
    noise = generator.normal(0, 40, (count, SIDE, SIDE, 3))
    return np.clip(colours[y] + noise, 0, 255).astype("uint8"), y


def view(x: np.ndarray, number: int) -> np.ndarray:
    """All images, each mirrored or not, and shifted by up to 4 pixels.

    The same number gives the same view.
    """
    generator = np.random.default_rng(number)
    down, right = generator.integers(0, 2 * MARGIN + 1, (2, len(x)))
    mirrored = generator.random(len(x)) < 0.5
    margin = (MARGIN, MARGIN)
    windows = np.lib.stride_tricks.sliding_window_view(
        np.pad(x, ((0, 0), margin, margin, (0, 0))), (SIDE, SIDE), axis=(1, 2)
    )
    found = np.moveaxis(windows[np.arange(len(x)), down, right], 1, -1)
    found[mirrored] = found[mirrored, :, ::-1]
    return found


class Views(keras.utils.PyDataset):
    """Batches of views, one view of all images in each pass.

    Args:
        x, y: Images and labels.
        numbers: Of the views, which are taken in turn.
        seed: Of the order of the images.
        logits: A teacher's for each view, shape `(views, images, classes)`;
            None if there is none.
    """

    def __init__(
        self,
        x: np.ndarray,
        y: np.ndarray,
        numbers: range,
        seed: int,
        logits: np.ndarray | None = None,
    ) -> None:
        super().__init__()
        self._x, self._y, self._logits = x, y, logits
        self._numbers = numbers
        self._generator = np.random.default_rng(seed)
        self._passes = -1
        self.on_epoch_end()

    def __len__(self) -> int:
        return len(self._x) // BATCH  # Whole batches, of one shape.

    def __getitem__(self, batch: int) -> tuple:
        rows = self._order[batch * BATCH : (batch + 1) * BATCH]
        x = self._view[rows]
        if self._logits is not None:
            x = kd.WithTeacherLogits(x, self._logits[self._place][rows])
        return x, self._y[rows]

    def on_epoch_end(self) -> None:
        self._passes += 1
        self._place = self._passes % len(self._numbers)
        self._view = view(self._x, self._numbers[self._place])
        self._order = self._generator.permutation(len(self._x))


def network(stages: Stages) -> keras.Model:
    """Convolutions at ever smaller resolutions, and logits.

    Args:
        stages: Channels and number of the convolutions at each resolution,
            from 32 x 32 down.
    """
    stack = [keras.Input((SIDE, SIDE, 3)), layers.Rescaling(1 / 127.5, -1.0)]
    for channels, count in stages:
        for _ in range(count):
            stack += [
                layers.Conv2D(channels, 3, padding="same", use_bias=False),
                layers.BatchNormalization(momentum=0.9),
                layers.ReLU(),
            ]
        stack.append(layers.MaxPooling2D())
    stack[-1] = layers.GlobalAveragePooling2D()
    return keras.Sequential([*stack, layers.Dense(10)])


def optimizer(rate: float, steps: int) -> keras.Optimizer:
    """Adam whose rate falls to 0, and whose weights decay."""
    made = adam(rate, steps)
    made.weight_decay = DECAY
    return made


def train_teacher(
    train: tuple, stages: Stages, epochs: int, rate: float
) -> keras.Model:
    """Each pass sees other views."""
    keras.utils.set_random_seed(0)
    teacher = network(stages)
    views = Views(*train, range(OF_TEACHERS, OF_TEACHERS + epochs), seed=0)
    teacher.compile(
        optimizer(rate, epochs * len(views)),
        CROSSENTROPY,
        steps_per_execution=AT_A_TIME,
    )
    teacher.fit(views, epochs=epochs, verbose=0)
    return teacher
