"""A teacher with more classes than its student, or in another order."""

import keras
import models
import numpy as np
import pytest
from keras import layers

import keras_distill as kd

X, Y = models.data(8)


def teacher(units=7, activation=None):
    keras.utils.set_random_seed(4)
    inputs = keras.Input((models.FEATURES,))
    return keras.Sequential([inputs, layers.Dense(units, activation)])


@pytest.mark.parametrize("indices", [[4, 0, 6], np.array([2, 1]), range(3)])
def test_logits_are_those_of_the_classes_in_their_order(indices):
    model = teacher()
    found = models.logits(kd.select_classes(model, indices), X)
    expected = models.logits(model, X)[:, list(indices)]
    np.testing.assert_array_equal(found, expected)


def test_any_model_and_any_axis_before_the_classes():
    model = keras.Sequential(
        [keras.Input((4, models.FEATURES)), layers.Dense(7)]
    )
    ensemble = kd.Ensemble([model, model])
    x = np.random.default_rng(0).normal(size=(2, 4, models.FEATURES))
    found = models.logits(kd.select_classes(ensemble, [5, 1]), x)
    expected = models.logits(ensemble, x)[..., [5, 1]]
    np.testing.assert_array_equal(found, expected)


def distiller(model):
    found = kd.Distiller(model, models.sequential(), kd.losses.SoftTargets(2.0))
    found.compile("sgd", models.CROSSENTROPY)
    return found


def test_a_student_learns_of_them():
    model = teacher()
    selected = kd.select_classes(model, [4, 0, 6])
    kernel, bias = model.get_weights()
    plain = teacher(3)
    plain.set_weights([kernel[:, [4, 0, 6]], bias[[4, 0, 6]]])
    logs = models.fit(distiller(selected), X, Y, epochs=2)
    expected = models.fit(distiller(plain), X, Y, epochs=2)
    for name, values in expected.items():
        np.testing.assert_allclose(logs[name], values, rtol=1e-5)
    models.assert_same(model.get_weights(), [kernel, bias])


def test_a_cache_is_built_of_them(tmp_path):
    selected = kd.select_classes(teacher(), [4, 0, 6])
    cache = kd.TeacherCache.build(selected, (X, Y), tmp_path, dtype="float32")
    made = distiller(None)
    logs = models.fit(made, cache.attach((X, Y)))
    expected = models.fit(distiller(selected), X, Y)
    assert logs["soft_loss"] == pytest.approx(expected["soft_loss"], rel=1e-5)


def test_saved_and_loaded(tmp_path):
    selected = kd.select_classes(teacher(), [4, 0, 6])
    selected.save(tmp_path / "selected.keras")
    loaded = keras.saving.load_model(tmp_path / "selected.keras")
    models.assert_same([models.logits(loaded, X)], [models.logits(selected, X)])


@pytest.mark.parametrize(
    "indices",
    [[], [0, 7], [-1], [1, 1], [0.5], [True, False]],
    ids=repr,
)
def test_what_are_no_classes_is_refused(indices):
    message = "of its 7, from 0. Received: indices="
    with pytest.raises(ValueError, match=message):
        kd.select_classes(teacher(), indices)


def test_probabilities_and_other_things_are_refused():
    with pytest.raises(ValueError, match=r"kd.as_logits\(teacher\)"):
        kd.select_classes(teacher(activation="softmax"), [0])
    with pytest.raises(TypeError, match="`teacher` must be a keras.Model"):
        kd.select_classes(3, [0])


def test_teachers_of_more_classes_are_told_of_it():
    with pytest.raises(ValueError, match=r"kd.select_classes\(teacher, indi"):
        distiller(teacher())
