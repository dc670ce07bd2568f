"""A problem with a known posterior: a symbol and one of five classes."""

import keras
import numpy as np

SYMBOLS, CLASSES = 4, 5
# How often each symbol occurs with each class.
COUNTS = np.array(
    [
        [40, 10, 5, 25, 20],
        [10, 30, 20, 15, 75],
        [5, 25, 60, 10, 100],
        [20, 5, 15, 300, 10],
    ]
)
SPECIAL = [2, 0]
OTHERS = [1, 3, 4]
SETS = [SPECIAL, [1, 3]]
# Adam would turn gradients near 0, which are rounding, into whole steps.
SHORT = {
    "epochs": 2,
    "batch_size": 256,
    "optimizer": keras.optimizers.SGD(0.1),
    "verbose": False,
}


def examples():
    """One-hot symbols and classes, each pair as often as it occurs."""
    symbol, label = np.nonzero(COUNTS)
    times = COUNTS[symbol, label]
    x = np.eye(SYMBOLS, dtype="float32")[np.repeat(symbol, times)]
    return x, np.repeat(label, times).astype("int32")


def posterior():
    return COUNTS / COUNTS.sum(axis=1, keepdims=True)


def collapsed(p=None):
    """The posterior of the special classes, and of all others as one."""
    p = posterior() if p is None else p
    return np.c_[p[:, SPECIAL], p[:, OTHERS].sum(axis=1)]


def natural_share():
    return COUNTS[:, SPECIAL].sum() / COUNTS.sum()


def generalist():
    """A model that is exact: a table."""
    layer = keras.layers.Dense(CLASSES)
    model = keras.Sequential([keras.Input((SYMBOLS,)), layer])
    layer.set_weights([np.log(posterior()), np.zeros(CLASSES)])
    return model


def probabilities(model):
    logits = model.predict(np.eye(SYMBOLS, dtype="float32"), verbose=0)
    return np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)


def weights(specialists):
    return [w for s in specialists for w in s.model.get_weights()]


def assert_same(a, b):
    for one, other in zip(weights(a), weights(b), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)
