"""The fingerprint tells one trained teacher from another, and only that."""

import keras
import numpy as np
import pytest

import keras_distill as kd
from keras_distill._keras.fingerprint import fingerprint


def counted(activation="relu", **kwargs):
    """A model whose weights are 0, 1/8, 2/8 and so on."""
    layers = [
        keras.layers.Dense(2, activation, **kwargs),
        keras.layers.Dense(3),
    ]
    model = keras.Sequential([keras.Input((2,)), *layers])
    weights, start = [], 0
    for weight in model.get_weights():
        numbers = np.arange(start, start + weight.size) / 8
        weights.append(numbers.reshape(weight.shape))
        start += weight.size
    model.set_weights(weights)
    return model


# Files that exist hold such digests, so these values must not change.
GOLDEN = {
    "float32": (
        "c61da6e7a629991f2e6c0d225816d2a5b19dcd844ab6ff7c4b97b6218511cde6"
    ),
    "bfloat16": (
        "9e96b3945cb0a33e932bb80391f6dd728f128e91e2a887d913245f41237dafbb"
    ),
    "ensemble": (
        "61dc487ade7065e35079dfe0c761d4cb622bd2186dbfb9d6f06b4c33b129c88b"
    ),
}


@pytest.mark.parametrize("kind", GOLDEN)
def test_fingerprint_is_the_same_on_every_backend_and_for_ever(kind):
    if kind == "ensemble":
        model = kd.Ensemble([counted(), counted()])
    else:
        model = counted(dtype=kind)
    assert fingerprint(model) == GOLDEN[kind]


def test_fingerprint_leaves_out_names_and_trainable_flags():
    model = counted(name="another_name")
    model.trainable = False
    assert fingerprint(model) == fingerprint(counted())


@pytest.mark.parametrize("index", range(4))
def test_fingerprint_depends_on_every_weight(index):
    model = counted()
    weights = model.get_weights()
    weights[index].flat[-1] += 1e-6
    model.set_weights(weights)
    assert fingerprint(model) != fingerprint(counted())


def test_fingerprint_depends_on_what_uses_the_weights():
    a, b = counted(), counted("tanh")
    models = [
        a,
        b,
        kd.Ensemble([a, b]),
        kd.Ensemble([b, a]),
        kd.Ensemble([a, b], "geometric"),
        kd.Ensemble([a, b], weights=[1, 2]),
        kd.Ensemble([a, b], weights=[1, 3]),
    ]
    assert len({fingerprint(model) for model in models}) == len(models)


@pytest.mark.parametrize("scale", [1 / 127, 1 / 255])
def test_fingerprint_depends_on_settings_that_are_no_weights(scale):
    def scaled(scale):
        layers = [keras.Input((2,)), keras.layers.Rescaling(scale)]
        return keras.Sequential([*layers, *counted().layers])

    same = fingerprint(scaled(scale)) == fingerprint(scaled(1 / 255))
    assert same is (scale == 1 / 255)


@pytest.mark.skipif(
    keras.backend.backend() != "jax", reason="elsewhere weights change in place"
)
def test_weights_are_read_anew_only_after_a_change(monkeypatch):
    read, numpy_of = [], keras.ops.convert_to_numpy

    def reading(value):
        read.append(value)
        return numpy_of(value)

    model = counted()
    monkeypatch.setattr(keras.ops, "convert_to_numpy", reading)

    def digest_and_count():
        read.clear()
        return fingerprint(model), len(read)

    first = digest_and_count()
    assert first == (GOLDEN["float32"], 4)
    assert digest_and_count() == (first[0], 0)
    weight = model.weights[3]
    before = weight.numpy()
    weight.assign(before + 1)
    other = digest_and_count()
    assert other[0] != first[0] and other[1] == 4
    weight.assign(before)
    assert digest_and_count() == first
    # A layer that works otherwise is found where no weight has changed.
    model.layers[0].activation = keras.activations.tanh
    assert digest_and_count()[0] not in (first[0], other[0])
