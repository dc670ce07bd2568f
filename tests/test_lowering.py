"""Steps can be lowered for a TPU; none is here, on which they could run.

What XLA has no instructions for there is not in the modules: linear algebra in
float64, dimensions that are not known. Calls back into Python are refused when
a function is lowered.
"""

import re

import every_loss
import keras
import models
import numpy as np
import pytest
from keras import layers

import keras_distill as kd
from keras_distill._keras import jax as of_jax
from keras_distill._keras import memory, pieces
from keras_distill._keras.frozen import FrozenModel

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        keras.backend.backend() != "jax", reason="XLA lowers for absent devices"
    ),
]
X, Y = models.data(8)
SOFT = kd.losses.SoftTargets(2.0)
MISSING = {
    "float64": re.compile(r"\bf64\b|xf64>"),
    "unknown size": re.compile(r"tensor<[^>]*\?"),
}


@pytest.fixture
def tpu(monkeypatch):
    monkeypatch.setattr(of_jax, "on_tpu", lambda: True)


def distiller(teacher, student, loss=SOFT, **kwargs):
    weights = {"hard_loss_weight": 0.3, "soft_loss_weight": 0.7}
    model = kd.Distiller(teacher, student, loss, **weights, **kwargs)
    model.compile("adam", models.CROSSENTROPY, metrics=["accuracy"])
    return model


def lowered(function, *arguments):
    import jax

    exported = jax.export.export(jax.jit(function), platforms=["tpu"])
    return exported(*arguments).mlir_module()


def step(model, x=X, y=Y):
    """A training step of a model that has made one here."""
    model.train_on_batch(x, y)
    variables = [
        model.trainable_variables,
        model.non_trainable_variables,
        model.optimizer.variables,
        model.metrics_variables,
    ]
    state = tuple([v.value for v in part] for part in variables)
    return lowered(model.train_step, state, (x, y))


def missing(module):
    return [name for name, found in MISSING.items() if found.search(module)]


@pytest.mark.parametrize(
    "loss",
    [pytest.param(loss, id=name) for name, loss in every_loss.made().items()],
)
def test_a_step_of_each_loss(loss):
    model = distiller(models.noisy(seed=2), models.noisy(), loss)
    assert missing(step(model)) == []


def test_a_step_of_logits_that_come_in_pieces(monkeypatch):
    monkeypatch.setattr(memory, "_LARGE", 2)
    monkeypatch.setattr(pieces, "_SMALLEST_ON_CPU", 2)
    module = step(distiller(models.noisy(seed=2), models.noisy()))
    assert missing(module) == [] and "while" in module


def test_a_step_in_half_precision_with_features():
    student, teacher = (
        models.with_policy("mixed_bfloat16", models.functional, seed=seed)
        for seed in (1, 2)
    )
    names = teacher.layers[1].name, student.layers[1].name
    hint = kd.losses.Feature(*names)
    module = step(distiller(teacher, student, feature_losses=[hint]))
    assert missing(module) == [] and "bf16" in module


def specialists():
    def network(units):
        return keras.Sequential([keras.Input((4,)), layers.Dense(units)])

    pairs = [(network(3), [0, 1]), (network(3), [1, 2])]
    return kd.specialists.SpecialistEnsemble(network(4), pairs, n=2)


def test_specialists_solve_in_float32(tpu):
    forward = FrozenModel(specialists())
    module = lowered(lambda x: forward(x), X)
    assert missing(module) == [] and "while" in module


def test_that_this_would_be_seen():
    forward = FrozenModel(specialists())
    assert missing(lowered(lambda x: forward(x), X)) == ["float64"]


def test_specialists_teach(tpu):
    student = keras.Sequential([keras.Input((4,)), layers.Dense(4)])
    model = distiller(kd.LogProbabilities(specialists()), student)
    assert missing(step(model)) == []


def test_a_call_back_would_be_refused():
    import jax

    with pytest.raises(ValueError, match="different from the lowering plat"):
        lowered(lambda x: jax.debug.callback(print, x), np.ones(3))
