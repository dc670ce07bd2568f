"""What takes a student's feature to the teacher's shape."""

import backend
import feature_models as nets
import keras
import models
import numpy as np
import pytest
import reference_features as reference
from feature_models import Y, hint
from keras import layers

import keras_distill as kd
from keras_distill._features._projectors import Resized

SIDE = 6
MAPS = (
    np.random.default_rng(0).normal(size=(8, SIDE, SIDE, 1)).astype("float32")
)


def conv(channels, pool, seed=1):
    """Maps of `SIDE / pool`, of so many channels."""
    keras.utils.set_random_seed(seed)
    stack = [
        keras.Input((SIDE, SIDE, 1)),
        layers.Conv2D(channels, 3, padding="same"),
        layers.AveragePooling2D(pool, name="map"),
        layers.GlobalAveragePooling2D(name="vector"),
        layers.Dense(models.CLASSES),
    ]
    return keras.Sequential(stack)


def matched(teacher, student, loss="mse", **kwargs):
    feature = kd.losses.Feature("map", "map", loss, **kwargs)
    return nets.still(feature, teacher=teacher, student=student)


def maps(model):
    parts = model.teacher, model.student
    return [nets.given(part, "map", x=MAPS) for part in parts]


def feature_loss(model):
    return models.step(model, MAPS, Y)["feature_loss"]


@pytest.mark.parametrize("student, teacher", [(3, 2), (2, 3), (1, 3), (3, 3)])
def test_channels_and_sizes_become_those_of_the_teacher(student, teacher):
    model = matched(conv(4, teacher, seed=2), conv(3, student))
    f, g = maps(model)
    sizes = f.shape[1:-1]
    dense = model.projectors["0"]
    dense = dense if student == teacher else dense.layers[-1]
    kernel, bias = nets.arrays(dense)
    assert kernel.shape == (3, 4)
    expected = np.mean((f - reference.resized(g, sizes) @ kernel - bias) ** 2)
    assert feature_loss(model) == pytest.approx(expected, rel=1e-4)


def test_maps_of_other_sizes_and_equal_channels_are_resized_alone():
    model = matched(conv(3, 3, seed=2), conv(3, 2))
    assert model.projectors["0"].weights == []
    f, g = maps(model)
    expected = np.mean((f - reference.resized(g, f.shape[1:-1])) ** 2)
    assert feature_loss(model) == pytest.approx(expected, rel=1e-4)


def test_attention_needs_no_equal_channels():
    loss = kd.losses.AttentionTransfer()
    model = matched(conv(4, 3, seed=2), conv(3, 3), loss)
    assert not model.projectors
    expected = reference.attention_transfer(*maps(model)).mean()
    assert feature_loss(model) == pytest.approx(expected, rel=1e-4)
    model = matched(conv(4, 3, seed=2), conv(3, 2), loss)
    assert model.projectors["0"].weights == []
    f, g = maps(model)
    g = reference.resized(g, f.shape[1:-1])
    expected = reference.attention_transfer(f, g).mean()
    assert feature_loss(model) == pytest.approx(expected, rel=1e-4)


def test_relations_need_no_equal_shapes():
    loss = kd.losses.RKD()
    feature = kd.losses.Feature("vector", "map", loss)
    teacher, student = conv(4, 3, seed=2), conv(3, 2)
    model = nets.still(feature, teacher=teacher, student=student)
    assert not model.projectors
    f = nets.given(teacher, "vector", x=MAPS)
    g = nets.given(student, "map", x=MAPS)
    expected = reference.rkd(f, g)
    assert feature_loss(model) == pytest.approx(expected, rel=1e-3)


def test_a_map_and_a_vector_need_a_projector():
    feature = kd.losses.Feature("vector", "map")
    teacher, student = conv(4, 3, seed=2), conv(3, 2)
    message = r"need a projector. Received: \(None, 3, 3, 3\).*\(None, 4\)"
    with pytest.raises(ValueError, match=message):
        nets.still(feature, teacher=teacher, student=student)
    projector = keras.Sequential(
        [layers.GlobalAveragePooling2D(), layers.Dense(4)]
    )
    feature = kd.losses.Feature("vector", "map", projector=projector)
    model = nets.still(feature, teacher=teacher, student=student)
    f = nets.given(teacher, "vector", x=MAPS)
    g = models.logits(projector, nets.given(student, "map", x=MAPS))
    assert feature_loss(model) == pytest.approx(np.mean((f - g) ** 2), rel=1e-4)


@pytest.mark.parametrize(
    "projector, message",
    [
        (layers.Dense(3), r"Received: \(None, 3, 3, 3\).*\(None, 2, 2, 4\)"),
        (layers.Conv1D(4, 1), "`projector` must take the student's feature"),
    ],
)
def test_a_projector_to_another_shape_is_refused(projector, message):
    with pytest.raises(ValueError, match=message):
        matched(conv(4, 3, seed=2), conv(3, 2), projector=projector)


def test_masked_positions_are_not_resized():
    words, _ = models.sequences()
    masked = layers.Embedding(models.WORDS, 4, mask_zero=True)(words)
    with pytest.raises(ValueError, match="cannot be resized.*Received"):
        Resized((3,))(masked)


@pytest.mark.parametrize("sizes", [(2, 5), (7, 1), (4, 6)])
def test_areas_have_their_means(sizes):
    feature = np.random.default_rng(0).normal(size=(2, 4, 6, 3))
    found = backend.to_numpy(Resized(sizes)(feature.astype("float32")))
    np.testing.assert_allclose(
        found, reference.resized(feature, sizes), rtol=1e-5, atol=1e-6
    )
    assert Resized(sizes).compute_output_shape((2, 4, 6, 3)) == found.shape


def test_a_projector_has_the_policy_of_the_student():
    with_policy = models.with_policy
    student = with_policy("mixed_bfloat16", nets.net, units=6)
    teacher = nets.net(5, seed=2)
    model = nets.still(hint(), teacher=teacher, student=student)
    assert model.projectors["0"].compute_dtype == "bfloat16"
    logs = models.step(model, models.data(8)[0], Y)
    expected = nets.mean_square(teacher, student, model.projectors["0"])
    assert logs["feature_loss"] == pytest.approx(expected.mean(), rel=2e-2)
