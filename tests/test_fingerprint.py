"""The fingerprint tells one trained teacher from another, and only that."""

import keras
import numpy as np
import pytest

import keras_distill as kd
from keras_distill._keras import digests
from keras_distill._keras.fingerprint import fingerprint, shown


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
        "2-d244b213cc0f2bb9060aff09f70b96f4dd6d694d1d0e229039698985ff01645f"
    ),
    "bfloat16": (
        "2-f8159d7a99d77970a4bc7f42fee9c65ce053a6385ceac8b259be142b8dd5b354"
    ),
    "ensemble": (
        "2-eb6ba95acb73135ec4c64e596ae54ff4a9dea765e40878f6d6d3113aea5a28e2"
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
    read, sums_of = [], digests.sums

    def reading(values):
        read.extend(values)
        return sums_of(values)

    model = counted()
    monkeypatch.setattr(digests, "sums", reading)

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


# The sums of arrays.

MASK = 2**64 - 1


def reference(array):
    """SplitMix64 of each element's bits, `place` steps on, and one more round.

    In Python's integers, element by element.
    """
    first = second = 0
    size = min(array.itemsize, 8)
    words = np.ascontiguousarray(array).reshape(-1).view(f"u{size}")
    for place, word in enumerate(map(int, words)):
        x = (word + place * 0x9E3779B97F4A7C15) & MASK
        x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & MASK
        x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & MASK
        x ^= x >> 31
        first += x
        x = (x * 0xBF58476D1CE4E5B9) & MASK
        second += x ^ (x >> 30)
    return [first & MASK, second & MASK]


ARRAYS = [
    np.arange(12, dtype="float32").reshape(3, 4) / 7,
    np.float16([[1.5], [-2.0]]),
    np.array([True, False, True]),
    np.int32(7),
    np.zeros((0, 3), "float32"),
    np.array([1 + 2j, 3j], "complex128"),
    np.arange(2**15 + 3, dtype="int8"),
    np.asfortranarray(np.arange(12.0).reshape(3, 4)),
]


@pytest.mark.once
@pytest.mark.parametrize("array", ARRAYS, ids=lambda a: f"{a.dtype}{a.shape}")
def test_sums_are_those_of_a_loop_over_all_elements(array):
    assert digests.sums([array]).tolist() == [reference(array)]


@pytest.mark.once
def test_elements_that_change_places_change_the_sums():
    array = np.arange(6, dtype="float32")
    found = {tuple(digests.sums([a])[0]) for a in (array, array[::-1])}
    assert len(found) == 2


# Another version.


def test_files_of_another_version_are_refused_with_the_reason(tmp_path):
    old = "0123456789abcdef" * 4
    distiller = kd.Distiller(counted(), counted(), kd.losses.SoftTargets(2.0))
    config = distiller.get_config() | {"teacher_fingerprint": old}
    loaded = kd.Distiller.from_config(config)
    message = (
        r"fingerprint 2-[0-9a-f]{12}\.\.\., expected 0123456789ab\.\.\. of "
        "another version of keras_distill.*make a new kd.Distiller"
    )
    with pytest.raises(ValueError, match=message):
        loaded.teacher = counted()
    distiller.save_weights(tmp_path / "old.weights.h5")
    store = {"teacher_fingerprint": list(bytes.fromhex(old))}
    with pytest.raises(ValueError, match=message):
        distiller.load_own_variables(store)


@pytest.mark.once
def test_a_fingerprint_of_ones_own_is_shown_as_it_is():
    assert shown("my-model@v3") == "'my-model@v3'"
