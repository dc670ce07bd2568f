"""Code that was written for another Distiller, and what it is told."""

import inspect

import keras
import models
import pytest

import keras_distill as kd

pytestmark = pytest.mark.once


def loss():
    return keras.distillation.LogitsDistillation(temperature=3.0)


def feature():
    return keras.distillation.FeatureDistillation("mse", "a", "b")


@pytest.mark.parametrize(
    "arguments, became",
    [
        ({"distillation_losses": [loss()]}, "`distillation_losses` is disti"),
        ({"student_loss_weight": 0.3}, "is hard_loss_weight, 1 less it"),
        ({"distillation_loss_weights": [1]}, r"Sum\(losses, weights\)"),
        (
            {"student_loss_fn": "mse"},
            "`student_loss_fn` is the loss",
        ),
        ({"distillation_loss_fn": "mse"}, "is distillation_loss=kd.losses"),
        ({"alpha": 0.1}, "`alpha` is hard_loss_weight"),
        ({"temperature": 3}, "`temperature` is that of the loss: distill"),
        ({"alpha": 1, "temperature": 3}, "Received: alpha, temperature, of"),
    ],
)
@pytest.mark.parametrize("with_loss", [True, False])
def test_arguments_of_others_are_refused(arguments, became, with_loss):
    pair = models.sequential(seed=2), models.sequential()
    given = [kd.losses.SoftTargets(3.0)] if with_loss else []
    with pytest.raises(TypeError, match=became):
        kd.Distiller(*pair, *given, **arguments)
    with pytest.raises(TypeError, match=became):
        kd.Distiller(teacher=pair[0], student=pair[1], **arguments)


@pytest.mark.parametrize("make", [loss, feature])
def test_losses_of_keras_distillation_are_refused(make):
    pair = models.sequential(seed=2), models.sequential()
    message = f"Received: a {type(make()).__name__}. LogitsDistillation"
    for given in (make(), [make()], {"a": make()}):
        with pytest.raises(TypeError, match=message):
            kd.Distiller(*pair, given)
        with pytest.raises(TypeError, match=message):
            kd.Distiller(*pair, distillation_loss=given)


def test_the_signature_is_that_of_the_constructor():
    names = list(inspect.signature(kd.Distiller).parameters)
    assert names[:3] == ["teacher", "student", "distillation_loss"]
