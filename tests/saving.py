"""Builders that the tests of saving and of checkpoints share."""

import keras
import numpy as np
import pytest

import keras_distill as kd

RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(32, 8)).astype("float32")
Y = RANDOM.integers(3, size=32)
REFUSED = "trained by another teacher"


def make_teacher(units=16, activation="relu", name="teacher"):
    layers = [
        keras.Input((8,)),
        keras.layers.Dense(units, activation, name=f"{name}_hidden"),
        keras.layers.BatchNormalization(name=f"{name}_norm"),
        keras.layers.Dense(3, name=f"{name}_logits"),
    ]
    return keras.Sequential(layers, name=name)


def make_student(*layers):
    dense = keras.layers.Dense
    norm = keras.layers.BatchNormalization()
    return keras.Sequential(
        [keras.Input((8,)), dense(4, "relu"), norm, *layers, dense(3)]
    )


@keras.saving.register_keras_serializable(package="test_saving")
class SubclassedStudent(keras.Model):
    def __init__(self, units, **kwargs):
        super().__init__(**kwargs)
        self.units = units
        self.hidden = keras.layers.Dense(units, "relu")
        self.logits = keras.layers.Dense(3)

    def call(self, inputs):
        return self.logits(self.hidden(inputs))

    def get_config(self):
        return {**super().get_config(), "units": self.units}


@keras.saving.register_keras_serializable(package="test_saving")
class LabelledDistiller(kd.Distiller):
    def __init__(self, *args, label, **kwargs):
        super().__init__(*args, **kwargs)
        self.label = label

    def get_config(self):
        return {**super().get_config(), "label": self.label}


def compiled(teacher, student, cls=kd.Distiller, **kwargs):
    weights = {"hard_loss_weight": 0.75, "soft_loss_weight": 1.5}
    loss = kd.losses.WTTM(temperature=3.0)
    distiller = cls(teacher, student, loss, **weights, **kwargs)
    distiller.compile(
        optimizer=keras.optimizers.Adam(0.01),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    if distiller.built:
        distiller.optimizer.build(distiller.trainable_variables)
    return distiller


def train(distiller, epochs=1, **kwargs):
    kwargs = {"batch_size": 8, "shuffle": False, "verbose": 0, **kwargs}
    return distiller.fit(X, Y, epochs=epochs, **kwargs).history


@pytest.fixture(scope="module")
def original():
    """A Distiller after one epoch, for tests that do not train it."""
    keras.utils.set_random_seed(0)
    distiller = compiled(make_teacher(), make_student())
    train(distiller)
    return distiller


@pytest.fixture
def loaded(original, tmp_path):
    return loaded_again(original, tmp_path)


def loaded_again(distiller, folder):
    distiller.save(folder / "distiller.keras")
    return keras.models.load_model(folder / "distiller.keras")


def twin(model):
    """A model of the same weights whose layers are named anew."""
    copy = make_teacher(name=f"{model.name}_twin")
    copy.set_weights(model.get_weights())
    return copy


def with_other_weights(model):
    copy = twin(model)
    weights = copy.get_weights()
    weights[-1][-1] += 1e-3
    copy.set_weights(weights)
    return copy


def with_other_activation(model):
    copy = make_teacher(activation="tanh")
    copy.set_weights(model.get_weights())
    return copy


def with_other_shapes(model):
    return make_teacher(units=17)


OTHERS = [with_other_weights, with_other_activation, with_other_shapes]


def assert_same_values(variables, expected):
    for variable, other in zip(variables, expected, strict=True):
        np.testing.assert_allclose(variable, other, rtol=0, atol=1e-6)
