"""DIST: the authors' values, correlations, and what a batch must be."""

import json
import pathlib

import backend
import keras
import models
import numpy as np
import pytest
import reference
from keras import ops

import keras_distill as kd

GOLDEN = pathlib.Path(__file__).parent / "golden" / "logit_losses.json"
CONFIG = {"inter_weight": 2.0, "intra_weight": 0.5, "temperature": 3.0}
X, Y = models.data(16)


def draw(shape=(6, 5)):
    rng = np.random.default_rng(0)
    return rng.normal(0.0, 2.0, (2, *shape)).astype("float32")


def golden():
    for batch in json.loads(GOLDEN.read_text())["cases"]:
        for result in batch["results"]:
            if result["method"] == "dist":
                yield batch, result


@pytest.mark.parametrize(
    "dtype, tolerance", [("float32", 1e-5), ("float64", 1e-10)]
)
@pytest.mark.parametrize("batch, expected", list(golden()))
def test_authors_values(batch, expected, dtype, tolerance):
    v, z = (
        np.array(batch[f"{who}_logits"], dtype)
        for who in ("teacher", "student")
    )
    names = {"beta": "inter_weight", "gamma": "intra_weight"}
    names |= {"tau": "temperature"}
    config = {names[k]: value for k, value in expected["params"].items()}
    loss = kd.losses.DIST(**config, dtype=dtype)
    for attempt in (loss, lambda v, z: kd.losses.dist(v, z, **config)):
        with backend.float64():
            value, gradient = backend.value_and_grad(
                lambda z, f=attempt: f(v, z), z
            )
        np.testing.assert_allclose(value, expected["loss"], tolerance)
        given = np.array(expected["grad_student_logits"])
        floor = 5e-13 + tolerance * np.abs(given).max()
        np.testing.assert_allclose(gradient, given, 0, floor)


@pytest.mark.parametrize("shape", [(6, 5), (2, 3, 5)])
def test_matches_the_definition(shape):
    """Time steps are examples of one batch."""
    v, z = draw(shape)
    found = kd.losses.DIST(**CONFIG)(v, z)
    expected = reference.dist(v, z, **CONFIG)
    assert float(found) == pytest.approx(expected, rel=1e-5)
    assert float(kd.losses.dist(v, z, **CONFIG)) == float(found)


def test_what_is_correlated_needs_not_be_equal():
    """Of two classes all examples are, whatever their probabilities."""
    v, z = (
        np.float32([[2, 0], [0, 1], [3, 0]]),
        np.float32([[9, 0], [0, 2], [1, 0]]),
    )
    assert float(kd.losses.dist(v, z, 1.0, 0.0)) == pytest.approx(0, abs=1e-6)
    assert float(kd.losses.dist(v, z, 0.0, 1.0)) > 1e-3
    assert float(kd.losses.dist(v, v)) == pytest.approx(0, abs=1e-6)
    assert float(kd.losses.dist(v, -v, 1.0, 0.0)) == pytest.approx(2, 1e-5)


@pytest.mark.parametrize("rows", [1, 4])
def test_equal_probabilities_have_no_correlation_and_a_gradient(rows):
    v, z = np.zeros((2, rows, 5))
    v[:, 0] = 3.0

    def loss(z):
        teacher = ops.cast(v, z.dtype)
        return kd.losses.dist(teacher, z, temperature=2.0)

    with backend.float64():
        value, gradient = backend.value_and_grad(loss, z)
    assert value == models.near(4.0 * 2)
    assert np.all(np.isfinite(gradient))
    # In float32 their mean may be off by an eps, which is then correlated.
    for found in backend.value_and_grad(loss, z.astype("float32")):
        assert np.all(np.isfinite(found))


@pytest.mark.parametrize("size", [1e4, 3e38])
def test_huge_logits_are_finite(size):
    pair = size * np.sign(draw())
    for value in backend.value_and_grad(
        lambda z: kd.losses.DIST(**CONFIG)(pair[0], z), pair[1]
    ):
        assert np.all(np.isfinite(value))


def test_no_gradient_to_the_teacher():
    _, gradient = backend.value_and_grad(
        lambda pair: kd.losses.dist(pair[0], pair[1]), draw()
    )
    assert np.all(gradient[0] == 0) and np.any(gradient[1] != 0)


def test_saved_and_loaded():
    loss = kd.losses.DIST(**CONFIG, name="renamed")
    written = json.loads(json.dumps(keras.losses.serialize(loss)))
    restored = keras.losses.deserialize(written)
    assert type(restored) is kd.losses.DIST
    assert restored.get_config() == loss.get_config()
    assert {k: getattr(restored, k) for k in CONFIG} == CONFIG


@pytest.mark.parametrize("name", CONFIG)
def test_numbers_are_checked(name):
    for value in (-1.0, float("nan")):
        with pytest.raises(ValueError, match=name):
            kd.losses.DIST(**{name: value})
    with pytest.raises(TypeError, match=name):
        kd.losses.DIST(**{name: "1"})


def distilled(loss, student=None):
    student = student or models.linear()
    model = kd.Distiller(models.linear(seed=2), student, loss)
    model.compile(keras.optimizers.SGD(0.0), models.CROSSENTROPY)
    return model


class OfUser(keras.losses.Loss):
    """A loss of a user that compares the examples of a batch."""

    compares = "classes"
    per_example = False

    def call(self, teacher, student):
        return ops.mean((ops.mean(teacher, 0) - ops.mean(student, 0)) ** 2)


@pytest.mark.parametrize("loss", [kd.losses.DIST(**CONFIG), OfUser()])
def test_a_distiller_trains_by_the_whole_batch(loss):
    model = distilled(loss)
    v, z = (models.logits(m, X) for m in (model.teacher, model.student))
    expected = float(loss(ops.convert_to_tensor(v), ops.convert_to_tensor(z)))
    logs = models.step(model, X, Y)
    assert logs["soft_loss"] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("loss", [kd.losses.DIST(), OfUser()])
def test_sample_weights_are_refused(loss):
    with pytest.raises(ValueError, match="not weighed.*sample weights"):
        models.step(distilled(loss), X, Y, sample_weight=np.ones(16))


def test_weights_of_a_call_are_refused():
    with pytest.raises(ValueError, match="not weighed.*sample weights"):
        kd.losses.DIST()(*draw(), sample_weight=np.ones(6))


def test_a_mask_is_refused():
    words, labels = models.sequences()
    model = kd.Distiller(
        models.tagger(seed=2), models.tagger(mask_zero=True), kd.losses.DIST()
    )
    model.compile("sgd", models.CROSSENTROPY)
    with pytest.raises(ValueError, match="not weighed.*a mask"):
        models.step(model, words, labels)


def test_a_search_does_not_try_it_unasked():
    from keras_distill import _search

    assert "DIST" in _search.BUILT_IN
    assert "DIST" not in _search.BY_DEFAULT
