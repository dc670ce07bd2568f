"""Caches, datasets of each kind and folders that the tests of caches share."""

import contextlib
import importlib.util
import os
import sys
from pathlib import Path

import grain
import keras
import models
import numpy as np
import pytest

import keras_distill as kd
from keras_distill.cache import _shards

EXAMPLES, BATCH = 20, 8
NOT_THOSE = "inputs are not those that the teacher saw"
ANOTHER_DATASET = "not the one that the cache was built from"


def data():
    return models.data(EXAMPLES)


def teacher(**kwargs):
    """Is not compiled, which would take longer than all the rest."""
    model = models.sequential(**kwargs)
    model.supports_jit = False
    return model


def build(folder, model=None, dataset=None, **arguments):
    """A cache of 3 shards, the last of which holds half a batch."""
    defaults = {"batch_size": BATCH, "shard_examples": BATCH, "verbose": 0}
    return kd.TeacherCache.build(
        model or teacher(),
        data() if dataset is None else dataset,
        folder,
        **{"dtype": "float32", **defaults, **arguments},
    )


def contents(folder):
    """Names and bytes of all files of a folder."""
    return {p.name: p.read_bytes() for p in sorted(Path(folder).iterdir())}


def shards(folder):
    return sorted(Path(folder).glob("shard-*.npy"))


def flip(path, position, mask=1):
    """Changes one byte of a file."""
    with open(path, "r+b") as file:
        file.seek(position)
        byte = file.read(1)[0]
        file.seek(position)
        file.write(bytes([byte ^ mask]))


def flip_shape(path):
    """Makes a shard of 8 examples say that it holds 7."""
    place = path.read_bytes().index(b"'shape': (8,)")
    flip(path, place + len("'shape': ("), mask=ord("8") ^ ord("7"))


def unfinish(folder):
    """Turns a cache into what a build leaves that is killed at its end."""
    path = folder / _shards.MANIFEST
    plan = _shards.read_json(path)
    del plan["shards"], plan["examples"]
    (folder / _shards.PLAN).write_bytes(_shards.to_bytes(plan))
    path.unlink()


# Datasets of each kind.


class Batches(keras.utils.PyDataset):
    """Batches of arrays, or of structures of them."""

    def __init__(self, *data, size=BATCH, **kwargs):
        super().__init__(**kwargs)
        self.data, self.size = data, size
        self.reads, self.epochs = [], 0

    def __len__(self):
        return -(-len(keras.tree.flatten(self.data)[0]) // self.size)

    def __getitem__(self, index):
        self.reads.append(index)
        return rows(
            self.data, slice(index * self.size, (index + 1) * self.size)
        )

    def on_epoch_end(self):
        self.epochs += 1


def rows(data, which):
    return keras.tree.map_structure(lambda array: array[which], data)


def arrays(*data):
    return data


def grain_examples(*data):
    count = len(keras.tree.flatten(data)[0])
    return grain.MapDataset.source([rows(data, i) for i in range(count)])


def grain_batches(*data, size=BATCH):
    return grain_examples(*data).batch(size)


def tf_examples(*data):
    import tensorflow as tf

    return tf.data.Dataset.from_tensor_slices(data)


def tf_batches(*data, size=BATCH):
    return tf_examples(*data).batch(size)


HAS_TF = importlib.util.find_spec("tensorflow") is not None
needs_tf = pytest.mark.skipif(not HAS_TF, reason="tf.data needs TensorFlow")
OF_EXAMPLES = [grain_examples, pytest.param(tf_examples, marks=needs_tf)]
OF_BATCHES = [Batches, grain_batches, pytest.param(tf_batches, marks=needs_tf)]
KINDS = [arrays, *OF_EXAMPLES, *OF_BATCHES]


def names(cases):
    """Names of cases, of which those of tf.data begin with "tf"."""
    return [
        pytest.param(name, marks=needs_tf if name.startswith("tf") else ())
        for name in cases
    ]


def elements(dataset):
    """All elements of a dataset that is no tuple of arrays."""
    if isinstance(dataset, keras.utils.PyDataset):
        return [dataset[number] for number in range(len(dataset))]
    if hasattr(dataset, "as_numpy_iterator"):
        return list(dataset.as_numpy_iterator())
    return list(dataset)


def attached_logits(dataset):
    """All logits of an attached dataset, as one array."""
    if isinstance(dataset, tuple):
        return dataset[0].teacher_logits
    found = [element[0].teacher_logits for element in elements(dataset)]
    return np.concatenate(found) if found[0].ndim > 1 else np.stack(found)


# A folder that nobody may write to, root included.

_read_only: set[str] = set()


def _refuse_writing(event, arguments):
    if not _read_only or event not in ("open", "os.rename", "os.remove"):
        return
    path = arguments[0]
    if not isinstance(path, str | os.PathLike):
        return
    flags = arguments[2] if event == "open" else os.O_WRONLY
    writing = flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC)
    if writing and os.path.dirname(os.fspath(path)) in _read_only:
        raise PermissionError(13, "Permission denied", str(path))


sys.addaudithook(_refuse_writing)


@contextlib.contextmanager
def read_only(folder):
    _read_only.add(str(folder))
    try:
        yield
    finally:
        _read_only.discard(str(folder))


# Distillers whose soft loss tells whether logits belong to their inputs.


def identity():
    """A model whose logits are the first inputs."""
    model = models.linear()
    model.set_weights([np.eye(models.FEATURES, models.CLASSES)])
    return model


def matcher(**kwargs):
    """Its soft loss is 0 for logits of `identity`, and nothing is learnt."""
    student = identity()
    distiller = kd.Distiller(None, student, kd.losses.LogitMatching())
    options = {"loss": models.CROSSENTROPY, "run_eagerly": True} | kwargs
    distiller.compile(keras.optimizers.SGD(0.0), **options)
    return distiller


class SoftLosses(keras.callbacks.Callback):
    """Notes the soft loss after each batch."""

    def __init__(self):
        super().__init__()
        self.values = []

    def on_train_batch_end(self, batch, logs=None):
        self.values.append(float(logs["soft_loss"]))
