"""What a Distiller, and each model of this package, exports."""

import importlib.util

import backend
import keras
import models
import numpy as np
import pytest
from keras import layers

import keras_distill as kd
from keras_distill.specialists import Specialist, SpecialistEnsemble

needs_tensorflow = pytest.mark.skipif(
    keras.backend.backend() == "torch"
    or importlib.util.find_spec("tensorflow") is None,
    reason="a SavedModel is written by TensorFlow, on torch by torch_xla too",
)
# Keras passes JAX an argument that it warns about.
pytestmark = pytest.mark.filterwarnings(
    "ignore:The `native_serialization`:DeprecationWarning"
)
X = models.data(8)[0]


def probabilities(seed=1):
    keras.utils.set_random_seed(seed)
    stack = [layers.Dense(models.CLASSES), layers.Softmax()]
    return keras.Sequential([keras.Input((models.FEATURES,)), *stack])


class Probabilities(models.Subclassed):
    def call(self, inputs):
        return keras.ops.softmax(super().call(inputs))


def called(model):
    model(X)
    return model


def specialists():
    pairs = [Specialist(models.linear(seed=2), [0, 1])]
    return SpecialistEnsemble(models.linear(), pairs)


def shifted():
    return kd.bias.shift_bias(models.sequential(), [0, 2], 1.5)


def fitted(student):
    model = models.distiller(models.linear(seed=2), student)
    models.fit(model, *models.data())
    return model


MODELS = {
    "distiller": lambda: fitted(models.sequential()),
    "distiller of a subclassed student": lambda: fitted(models.Subclassed()),
    "distiller without a teacher": lambda: models.distiller(
        None, models.sequential()
    ),
    "arithmetic": lambda: kd.Ensemble([models.linear(), models.noisy()]),
    "geometric": lambda: kd.Ensemble([models.linear()] * 2, "geometric"),
    "ensemble of subclassed": lambda: kd.Ensemble(
        [called(models.Subclassed()), models.linear()]
    ),
    "ensemble of ensembles": lambda: kd.Ensemble(
        [kd.Ensemble([models.linear(), models.linear(seed=2)])] * 2
    ),
    "log probabilities": lambda: kd.LogProbabilities(probabilities()),
    "log probabilities of subclassed": lambda: kd.as_logits(
        called(Probabilities())
    ),
    "cut softmax": lambda: kd.as_logits(probabilities()),
    "specialists": specialists,
    "shifted": shifted,
}


@pytest.fixture(params=MODELS)
def kind(request):
    if request.param == "specialists" and keras.backend.backend() == "jax":
        reason = "TensorFlow 2.21 cannot read the top_k of JAX 0.10"
        request.applymarker(pytest.mark.xfail(reason=reason))
    return request.param


@needs_tensorflow
def test_an_exported_model_gives_what_the_model_gives(kind, tmp_path):
    model = MODELS[kind]()
    model.export(tmp_path / "exported", verbose=False)
    expected = backend.to_numpy(model(X, training=False))
    found = served(tmp_path / "exported", X)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)


@needs_tensorflow
@pytest.mark.parametrize("named", [True, False])
def test_several_inputs_are_exported_as_they_are(named, tmp_path):
    model = kd.Ensemble([models.two_inputs(named), models.two_inputs(named)])
    model.export(tmp_path / "exported", verbose=False)
    pair = {"a": X, "b": X + 1} if named else (X, X + 1)
    expected = backend.to_numpy(model(pair))
    found = served(tmp_path / "exported", pair)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)


@needs_tensorflow
def test_inputs_are_exported_in_their_own_dtype(tmp_path):
    words, _ = models.sequences()
    teacher = kd.Ensemble([models.tagger(), models.tagger(seed=2)])
    teacher.export(tmp_path / "exported", verbose=False)
    expected = backend.to_numpy(teacher(words))
    words = words.astype(teacher.members[0].inputs[0].dtype)
    found = served(tmp_path / "exported", words)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)


@needs_tensorflow
def test_the_inputs_of_an_export_may_be_given(tmp_path):
    model = kd.Ensemble([models.linear(), models.linear(seed=2)])
    spec = keras.InputSpec(shape=(8, models.FEATURES), dtype="float32")
    path = tmp_path / "exported"
    model.export(path, verbose=False, input_signature=[spec])
    served(path, X)
    with pytest.raises((TypeError, ValueError), match=r"\(8, 4\)"):
        served(path, X[:2])


def served(path, x):
    import tensorflow as tf

    artifact = tf.saved_model.load(str(path))
    return artifact.serve(x).numpy()


class BuiltByHand(keras.Model):
    """Keras has not seen its inputs."""

    def __init__(self):
        super().__init__()
        self.model = models.linear()
        self.built = True

    def call(self, inputs):
        return self.model(inputs)


def test_inputs_that_are_not_known_are_asked_for(tmp_path):
    ensemble = kd.Ensemble([BuiltByHand()])
    with pytest.raises(ValueError, match="pass input_signature="):
        ensemble.export(tmp_path / "exported")
