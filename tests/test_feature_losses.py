"""Losses between features: values, limits, gradients and what they refuse."""

import backend
import keras
import numpy as np
import pytest
import reference_features as reference
from keras import ops

import keras_distill as kd

SHAPES = {"cosine_distance": [(5, 3), (5, 2, 4, 3)]}
SHAPES["attention_transfer"] = SHAPES["rkd"] = [(5, 4, 3), (5, 2, 4, 3)]
NAMES = list(SHAPES)
CLASSES = {
    "cosine_distance": kd.losses.CosineDistance,
    "attention_transfer": kd.losses.AttentionTransfer,
    "rkd": kd.losses.RKD,
}
each_loss = pytest.mark.parametrize("name", NAMES)
each_shape = pytest.mark.parametrize(
    "name, shape", [(name, s) for name in NAMES for s in SHAPES[name]]
)


def features(shape, channels=None, seed=0):
    rng = np.random.default_rng(seed)
    f = rng.normal(size=shape).astype("float32") + 3
    g = rng.normal(size=(*shape[:-1], channels or shape[-1])) * 2 - 1
    return f, g.astype("float32")


def value(name, f, g, **kwargs):
    return backend.to_numpy(getattr(kd.losses, name)(f, g, **kwargs))


def test_every_loss_of_features_is_here():
    public = [getattr(kd.losses, name) for name in kd.losses.__all__]
    found = [x for x in public if getattr(x, "compares", None) == "values"]
    assert {*found} == {*CLASSES.values()}


@each_shape
def test_values_are_those_of_the_equations(name, shape):
    f, g = features(shape)
    expected = getattr(reference, name)(f, g)
    found = value(name, f, g)
    assert found.shape == np.shape(expected)
    np.testing.assert_allclose(found, expected, rtol=2e-5)
    loss = CLASSES[name]()
    np.testing.assert_allclose(loss(f, g), expected.mean(), rtol=2e-5)


@each_loss
def test_values_in_float64(name):
    f, g = (x.astype("float64") for x in features(SHAPES[name][1]))
    with backend.float64():
        found = value(name, ops.convert_to_tensor(f), ops.convert_to_tensor(g))
    assert found.dtype == "float64"
    np.testing.assert_allclose(found, getattr(reference, name)(f, g), 1e-12)


@pytest.mark.parametrize("name", ["attention_transfer", "rkd"])
def test_channels_need_not_agree(name):
    f, g = features((5, 4, 3), channels=2)
    expected = getattr(reference, name)(f, g)
    np.testing.assert_allclose(value(name, f, g), expected, rtol=2e-5)


def test_rkd_weighs_distances_and_angles():
    f, g = features((5, 3), 2)
    distance, angle = reference.rkd_parts(f, g)
    for weights in ((2.0, 0.0), (0.0, 3.0)):
        expected = weights[0] * distance + weights[1] * angle
        numbers = dict(
            zip(("distance_weight", "angle_weight"), weights, strict=True)
        )
        found = value("rkd", f, g, **numbers)
        np.testing.assert_allclose(found, expected, rtol=2e-5)
        assert float(kd.losses.RKD(**numbers)(f, g)) == pytest.approx(
            expected, rel=2e-5
        )


def turned(f):
    """A rotation, a shift and a scale, which change no relation."""
    rotation, _ = np.linalg.qr(features((3, 3), seed=1)[0])
    return 7 * f @ rotation + 5


SAME = {
    "cosine_distance": lambda f: 7 * f,
    "attention_transfer": lambda f: 7 * f[..., ::-1],
    "rkd": turned,
}


@each_loss
def test_what_a_loss_does_not_look_at_gives_0(name):
    f, _ = features((5, 4, 3))
    f = f[:, 0] if name == "rkd" else f
    np.testing.assert_allclose(value(name, f, SAME[name](f)), 0, atol=1e-5)


@each_loss
@pytest.mark.parametrize("scale", [0.0, 1e-15, 1.0])
def test_gradients_are_finite_where_features_vanish_or_are_alike(name, scale):
    f, g = features((5, 4, 3))
    g = scale * g
    g[1] = g[0]
    loss = CLASSES[name]()
    found, gradient = backend.value_and_grad(lambda x: loss(f, x), g)
    assert np.isfinite(found) and np.all(np.isfinite(gradient))
    assert (scale == 1.0) <= np.any(gradient != 0)


@pytest.mark.parametrize("apart", [0.0, 1e-6])
def test_examples_that_are_the_same_but_for_rounding_have_no_relation(apart):
    f, g = features((9, 30))
    f[::2], g[::3] = f[0], g[3]
    expected = reference.rkd(f, g)
    noise = apart * features((9, 30), seed=1)[1]
    found = value("rkd", f + noise, g - noise)
    np.testing.assert_allclose(found, expected, rtol=1e-4)


@each_loss
def test_no_gradient_reaches_the_teacher(name):
    f, g = features((5, 4, 3))
    loss = CLASSES[name]()
    _, gradient = backend.value_and_grad(
        lambda x: loss(x, g) + 0 * ops.sum(x), f
    )
    assert not np.any(gradient)


@each_loss
def test_half_precision_is_computed_in_float32(name):
    f, g = (ops.cast(x, "bfloat16") for x in features((5, 4, 3)))
    found = value(name, f, g)
    assert found.dtype == "float32"
    parts = backend.to_numpy(f), backend.to_numpy(g)
    expected = getattr(reference, name)(*parts)
    np.testing.assert_allclose(found, expected, rtol=2e-5)


WRONG = {
    "cosine_distance": [((5, 3), (5, 2)), ((5, 3), (5, 1, 3)), ((5,), (5,))],
    "attention_transfer": [((5, 4, 3), (5, 2, 3)), ((5, 4, 3), (5, 3))],
    "rkd": [((5, 3), (4, 3))],
}


@pytest.mark.parametrize(
    "name, shapes", [(name, s) for name in NAMES for s in WRONG[name]]
)
def test_shapes_that_do_not_agree_are_refused(name, shapes):
    f, g = (np.ones(shape, "float32") for shape in shapes)
    with pytest.raises(ValueError, match="agree in what is compared. Received"):
        value(name, f, g)


@each_loss
def test_a_loss_of_features_comes_back_from_its_config(name):
    loss = CLASSES[name](name="own", reduction="sum")
    copy = keras.losses.deserialize(keras.losses.serialize(loss))
    assert type(copy) is type(loss)
    assert copy.get_config() == loss.get_config()


@pytest.mark.parametrize("number", ["distance_weight", "angle_weight"])
def test_bad_weights_of_rkd_are_refused(number):
    for wrong in (-1.0, float("nan")):
        with pytest.raises(ValueError, match=f"`{number}` must"):
            kd.losses.RKD(**{number: wrong})
    with pytest.raises(TypeError, match=f"`{number}` must be a real number"):
        kd.losses.rkd([[1.0]], [[1.0]], **{number: "1"})


def test_rkd_takes_no_sample_weights():
    f, g = features((5, 3))
    message = "RKD compares the examples of a batch.*Received: sample weights"
    with pytest.raises(ValueError, match=message):
        kd.losses.RKD()(f, g, np.ones(5))
