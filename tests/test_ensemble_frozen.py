"""Ensembles as teachers and as files: members never change."""

import backend
import keras
import numpy as np
import pytest
from keras import layers

import keras_distill as kd

CLASSES = 5
each_combine = pytest.mark.parametrize("combine", ["arithmetic", "geometric"])
# Keras on torch converts tensors in a way that NumPy 2 warns about.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation")


def batch(rows=6):
    x = np.random.default_rng(0).normal(size=(rows, 4))
    return x.astype("float32")


def linear():
    dense = layers.Dense(CLASSES, bias_initializer="normal")
    return keras.Sequential([keras.Input((4,)), dense])


def functional():
    inputs = keras.Input((4,))
    hidden = layers.Dense(3, "tanh")(inputs)
    return keras.Model(inputs, layers.Dense(CLASSES)(hidden))


@keras.saving.register_keras_serializable(package="test_ensemble")
class Subclassed(keras.Model):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.dense = layers.Dense(CLASSES)

    def call(self, x):
        return self.dense(x)


def noisy():
    """A member that shows at once if it runs in training mode."""
    hidden = [layers.Dense(3), layers.BatchNormalization()]
    dropped = [layers.Dropout(0.9, seed=1), layers.GaussianNoise(1.0, seed=2)]
    top = layers.Dense(CLASSES)
    return keras.Sequential([keras.Input((4,)), *hidden, *dropped, top])


def output(model):
    return backend.to_numpy(model(batch()))


def state(model):
    return [backend.to_numpy(v.value).copy() for v in model.variables]


def assert_same_state(before, model):
    for old, new in zip(before, state(model), strict=True):
        np.testing.assert_array_equal(old, new)


def compiled(teacher, student=None):
    distiller = kd.Distiller(
        teacher, student or linear(), kd.losses.SoftTargets(2.0)
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    distiller.compile(optimizer=keras.optimizers.SGD(0.5), loss=loss)
    return distiller


# Members are frozen and unchanged.


def test_nothing_is_trainable_and_no_flag_is_touched():
    members = [noisy(), linear()]
    members[0].layers[0].trainable = False
    flags = [layer.trainable for m in members for layer in m.layers]
    ensemble = kd.Ensemble(members)
    ensemble(batch())
    assert ensemble.trainable_variables == ensemble.trainable_weights == []
    assert len(ensemble.non_trainable_variables) == len(ensemble.variables)
    assert len(ensemble.non_trainable_weights) == len(ensemble.weights)
    assert flags == [layer.trainable for m in members for layer in m.layers]
    assert len(members[1].trainable_variables) == 2


def test_members_run_in_inference_mode_even_in_training():
    ensemble = kd.Ensemble([noisy(), noisy()])
    before = state(ensemble)
    plain = output(ensemble)
    training = backend.to_numpy(ensemble(batch(), training=True))
    np.testing.assert_array_equal(plain, training)
    assert_same_state(before, ensemble)


@each_combine
def test_members_are_unchanged_as_a_teacher(combine):
    members = [noisy(), linear()]
    before = [state(member) for member in members]
    distiller = compiled(kd.Ensemble(members, combine=combine))
    student_before = state(distiller.student)
    distiller.fit(batch(), np.arange(6) % CLASSES, epochs=2, verbose=0)
    for old, member in zip(before, members, strict=True):
        assert_same_state(old, member)
    assert np.abs(student_before[0] - state(distiller.student)[0]).max() > 0


def test_predict_and_evaluate_change_nothing():
    ensemble = kd.Ensemble([noisy(), linear()])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    ensemble.compile(loss=loss)
    before = state(ensemble)
    predicted = ensemble.predict(batch(), verbose=0)
    loss_value = ensemble.evaluate(batch(), np.zeros(6), verbose=0)
    np.testing.assert_allclose(predicted, output(ensemble), atol=1e-6)
    np.testing.assert_allclose(loss_value, -predicted[:, 0].mean(), rtol=1e-5)
    assert_same_state(before, ensemble)


def test_distilling_an_ensemble_moves_the_student_to_it():
    teacher = kd.Ensemble([linear(), functional()])
    distiller = kd.Distiller(
        teacher, linear(), kd.losses.TTM(1.0), hard_loss_weight=0
    )
    distiller.compile(optimizer=keras.optimizers.SGD(1.0), loss=None)
    history = distiller.fit(batch(), epochs=10, verbose=0).history
    assert history["soft_loss"][-1] < history["soft_loss"][0] / 2


# Saving.


@each_combine
def test_save_and_load(combine, tmp_path):
    members = [linear(), functional(), kd.Ensemble([noisy()])]
    ensemble = kd.Ensemble(members, combine, weights=[1, 2, 5], name="three")
    ensemble.save(tmp_path / "ensemble.keras")
    loaded = keras.saving.load_model(tmp_path / "ensemble.keras")
    assert isinstance(loaded, kd.Ensemble)
    assert (loaded.name, loaded.combine) == ("three", combine)
    assert loaded.member_weights == ensemble.member_weights
    np.testing.assert_array_equal(output(loaded), output(ensemble))


def test_saves_a_member_that_was_built_by_a_call(tmp_path):
    ensemble = kd.Ensemble([Subclassed(), Subclassed()])
    logits = output(ensemble)
    ensemble.save(tmp_path / "ensemble.keras")
    loaded = keras.saving.load_model(tmp_path / "ensemble.keras")
    np.testing.assert_array_equal(output(loaded), logits)


def test_the_weights_file_holds_each_member_once(tmp_path):
    def size(model, name):
        model.save_weights(tmp_path / name)
        return (tmp_path / name).stat().st_size

    inputs = keras.Input((100,))
    member = keras.Model(inputs, layers.Dense(500)(inputs))
    other = keras.models.clone_model(member)
    one = size(member, "member.weights.h5")
    assert size(kd.Ensemble([member] * 2), "same.weights.h5") < 1.1 * one
    two = size(kd.Ensemble([member, other]), "two.weights.h5")
    assert 1.9 * one < two < 2.1 * one


def test_weights_are_saved_and_loaded_alone(tmp_path):
    ensemble = kd.Ensemble([linear(), noisy()])
    ensemble.save_weights(tmp_path / "ensemble.weights.h5")
    other = kd.Ensemble([linear(), noisy()])
    assert np.abs(output(other) - output(ensemble)).max() > 1e-3
    other.load_weights(tmp_path / "ensemble.weights.h5")
    np.testing.assert_array_equal(output(other), output(ensemble))
