"""What files hold of features: the projectors, and all else to go on."""

import feature_models as nets
import keras
import models
import numpy as np
import pytest
from feature_models import X, Y, hint
from keras import layers

import keras_distill as kd

FALLING = keras.optimizers.schedules.PolynomialDecay(1.0, 40, 0.5)


def made():
    relations = kd.losses.Feature(
        "head", "hidden", kd.losses.RKD(2.0, FALLING), weight=0.5
    )
    own = layers.Dense(5, "tanh")
    features = hint(weight=FALLING), hint(projector=own), relations
    return nets.distiller(*features, optimizer="adam")


def train(model, epochs):
    return models.fit(model, X, Y, epochs=epochs)


@pytest.mark.parametrize("later", [True, False])
def test_projectors_come_in_the_order_of_the_features(later):
    """In that of a loaded Distiller, or another has the optimizer's state."""
    teacher, own = nets.net(5, seed=2), layers.Dense(5, name="dense")
    model = kd.Distiller(
        None if later else teacher,
        nets.net(),
        kd.losses.SoftTargets(2.0),
        feature_losses=[hint(), hint(projector=own)],
    )
    model.teacher = teacher
    assert list(model.projectors) == ["0", "1"]
    assert model.projectors["1"] is own
    kernels = [model.projectors[key].kernel for key in "01"]
    found = [v for v in model.trainable_variables if v.shape == (6, 5)]
    assert [id(v) for v in found] == [id(kernel) for kernel in kernels]


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A Distiller after three epochs, its logs, and a file after the first."""
    model = made()
    first = train(model, 1)
    path = tmp_path_factory.mktemp("saved") / "distiller.keras"
    model.save(path)
    return model, first, train(model, 2), path


def test_a_loaded_distiller_goes_on_with_its_projectors(saved):
    model, _, expected, path = saved
    loaded = keras.models.load_model(path)
    assert models.evaluate(loaded, X, Y).keys() == {"loss"}
    loaded.teacher = model.teacher
    found = train(loaded, 2)
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values, rtol=1e-5)
    models.assert_same(nets.arrays(loaded), nets.arrays(model), 1e-6)


def test_a_loaded_distiller_has_the_features_that_were_saved(saved):
    model, *_, path = saved
    loaded = keras.models.load_model(path)
    assert loaded.projectors.keys() == model.projectors.keys() == {"0", "1"}
    assert loaded.projectors["1"].activation is keras.activations.tanh
    pairs = zip(loaded.feature_losses, model.feature_losses, strict=True)
    for found, expected in pairs:
        one, other = found.get_config(), expected.get_config()
        del one["projector"], other["projector"]  # The default ones, made.
        assert one == other


def test_a_checkpoint_holds_projectors(tmp_path, saved):
    model, *_ = saved
    model.save_weights(tmp_path / "all.weights.h5")
    fresh = made()
    assert models.changed(nets.arrays(fresh), nets.arrays(model))
    train(fresh, 1)
    fresh.load_weights(tmp_path / "all.weights.h5")
    models.assert_same(nets.arrays(fresh), nets.arrays(model))
    kernels = [fresh.projectors[key].kernel for key in "01"]
    assert [kernel.shape for kernel in kernels] == [(6, 5)] * 2


def test_a_saved_student_is_a_plain_model(tmp_path, saved):
    model, *_ = saved
    model.student.save(tmp_path / "student.keras")
    with keras.saving.CustomObjectScope({}):
        student = keras.models.load_model(tmp_path / "student.keras")
    assert type(student) is keras.Sequential
    models.assert_same(nets.arrays(student), nets.arrays(model.student))
    assert len(student.weights) == 4


def test_a_config_from_before_there_were_features():
    config = nets.distiller().get_config()
    assert config.pop("feature_losses") == []
    assert kd.Distiller.from_config(config).feature_losses == ()
