"""A distillation loss is smallest where the student is the teacher."""

import keras
import models
import pytest
from keras import layers, ops

import keras_distill as kd
from keras_distill._compiled import require_comparison

L = keras.losses
CLASSES, VALUES = kd.losses.SoftTargets(2.0), L.MeanSquaredError()
BINARY = L.BinaryCrossentropy(from_logits=True)


@pytest.mark.parametrize(
    "loss",
    [L.KLDivergence(), BINARY, L.CategoricalCrossentropy(), L.Poisson()],
    ids=lambda loss: loss.name,
)
def test_a_distillation_loss_of_probabilities_is_refused(loss):
    text = "must be smallest where the student's outputs are the teacher's"
    with pytest.raises(ValueError, match=text) as error:
        kd.Distiller(None, models.linear(), loss)
    assert f"Received: distillation_loss={type(loss).__name__}()" in str(
        error.value
    )
    assert "SoftTargets(temperature) for logits" in str(error.value)
    model = kd.Distiller(None, models.linear(), CLASSES)
    with pytest.raises(ValueError, match=text):
        model.distillation_loss = loss
    assert model.distillation_loss is CLASSES


class Own(L.Loss):
    def call(self, v, z):
        return ops.mean(v * z, -1)


def test_a_loss_that_says_what_it_compares_is_taken_at_its_word():
    with pytest.raises(ValueError, match='`compares = "values"` in its class'):
        kd.Distiller(None, models.linear(), Own())
    said = type("Said", (Own,), {"compares": "values"})()
    assert kd.Distiller(None, models.linear(), said).distillation_loss is said
    uses = type("Uses", (Own,), {"uses_labels": True})()
    assert kd.Distiller(None, models.linear(), uses).distillation_loss is uses


def test_a_distillation_loss_that_cannot_be_tried_is_told():
    class OfEight(Own):
        def call(self, v, z):
            return ops.mean(ops.reshape(v - z, (8, 3)) ** 2)

    with pytest.warns(UserWarning, match="could not be tried") as told:
        kd.Distiller(None, models.linear(), OfEight())
    told = [one for one in told if "tried" in str(one.message)]
    assert len(told) == 1
    assert 'say so with `compares = "values"`' in str(told[0].message)


def test_outputs_decide_on_what_a_divergence_is_tried():
    x = keras.Input((4,))
    ends = [layers.Dense(3, a)(x) for a in ("softmax", None)]
    require_comparison(keras.Model(x, ends), [L.KLDivergence(), VALUES])
    with pytest.raises(ValueError, match="outputs of any value"):
        require_comparison(keras.Model(x, ends), [VALUES, L.KLDivergence()])
    require_comparison(keras.Model(x, ends), [None, VALUES])
