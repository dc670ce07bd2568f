"""Features with sample weights, and of outputs with masks."""

import feature_models as nets
import keras
import models
import numpy as np
import pytest
import reference_features as reference
from feature_models import X, Y, close, hint
from keras import layers

import keras_distill as kd


@pytest.mark.parametrize("shape", [(8,), (8, 1)])
def test_sample_weights_weigh_the_features_of_examples(shape):
    weights = np.arange(8, dtype="float32") / 4
    model = nets.still(hint())
    each = nets.mean_square(model.teacher, model.student, model.projectors["0"])
    logs = models.step(model, X, Y, sample_weight=weights.reshape(shape))
    close(logs["feature_loss"], np.mean(each * weights))


def tagger(units, seed):
    keras.utils.set_random_seed(seed)
    words = layers.Embedding(models.WORDS, 4, mask_zero=True, name="words")
    hidden = layers.Dense(units, "tanh", name="hidden")
    head = layers.Dense(models.CLASSES, name="head")
    return keras.Sequential([keras.Input((models.STEPS,)), words, hidden, head])


def tagging(**kwargs):
    return nets.still(
        hint(**kwargs), teacher=tagger(5, 2), student=tagger(6, 1)
    )


@pytest.mark.parametrize("weighed", ["not", "examples", "positions"])
def test_masked_positions_do_not_count(weighed):
    words, labels = models.sequences()
    model = tagging()
    parts = model.teacher, model.student
    each = nets.mean_square(*parts, model.projectors["0"], x=words)
    shape = {"not": (), "examples": (8,), "positions": each.shape}[weighed]
    weights = np.random.default_rng(0).uniform(size=shape)
    expected = each * (words != 0)
    extra = {}
    if weighed != "not":
        extra["sample_weight"] = weights.astype("float32")
        weights = weights if weighed == "positions" else weights[:, None]
        expected = expected * weights
    logs = models.step(model, words, labels, **extra)
    close(logs["feature_loss"], expected.sum() / (words != 0).sum())


def test_attention_takes_weights_of_examples():
    f, g = (keras.layers.Reshape((4, 4, 1), name="map") for _ in "fg")
    student = nets.net(16, 1, f, layers.Flatten())
    teacher = nets.net(16, 2, g, layers.Flatten())
    loss = kd.losses.AttentionTransfer()
    feature = kd.losses.Feature("map", "map", loss)
    model = nets.still(feature, teacher=teacher, student=student)
    maps = [nets.given(part, "map") for part in (teacher, student)]
    weights = np.arange(8, dtype="float32")
    logs = models.step(model, X, Y, sample_weight=weights)
    expected = reference.attention_transfer(*maps) * weights
    close(logs["feature_loss"], expected.mean(), 1e-4)


def refused(model, message, x=X, y=Y, **kwargs):
    with pytest.raises(ValueError, match=message):
        models.step(model, x, y, **kwargs)


def pooling(units, seed):
    """Labels for words, by what each is and by what all are together."""
    keras.utils.set_random_seed(seed)
    inputs = keras.Input((models.STEPS,))
    hidden = layers.Dense(units)(layers.Embedding(models.WORDS, 4)(inputs))
    pool = layers.GlobalAveragePooling1D(name="pool")(hidden)
    both = layers.Add()([hidden, layers.RepeatVector(models.STEPS)(pool)])
    return keras.Model(inputs, layers.Dense(models.CLASSES)(both))


def test_weights_of_positions_that_a_feature_has_not_are_refused():
    words, labels = models.sequences()
    feature = kd.losses.Feature("pool", "pool")
    model = nets.still(feature, teacher=pooling(5, 2), student=pooling(6, 1))
    weights = np.ones((8, models.STEPS), "float32")
    message = r"shape \(8, 5\), for student_layer='pool' and MeanSquaredError"
    refused(model, message, words, labels, sample_weight=weights)


def test_a_loss_of_whole_examples_takes_no_mask():
    model = tagging(loss=kd.losses.AttentionTransfer())
    message = "AttentionTransfer compares the positions.*Received: a mask"
    refused(model, message, *models.sequences())


def test_weights_of_several_outputs_are_refused():
    loss = dict.fromkeys("ab", models.CROSSENTROPY)
    model = nets.still(hint(), **nets.heads(), loss=loss)
    labels, one = {"a": Y, "b": Y}, np.ones(8, "float32")
    weights = {"a": one, "b": one}
    message = "Received: sample weights for 2 outputs"
    refused(model, message, y=labels, sample_weight=weights)
    model = nets.still(hint(), **nets.heads(), loss=loss)
    expected = nets.mean_square(model.teacher, model.student).mean()
    close(models.step(model, X, labels)["feature_loss"], expected)


@pytest.mark.parametrize("weighed", [True, False])
def test_a_loss_of_batches_takes_no_weights(weighed):
    loss = kd.losses.RKD()
    weights = np.ones(8, "float32")
    if weighed:
        model, args = nets.still(hint(loss=loss)), {"sample_weight": weights}
        refused(model, "RKD compares the examples.*sample weights", **args)
        return
    words, labels = models.sequences()
    refused(tagging(loss=loss), "RKD compares.*a mask", words, labels)
