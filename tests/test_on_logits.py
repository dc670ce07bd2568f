"""The mark of those who know that a loss or metric takes logits."""

import keras
import models
import numpy as np
import pytest
from keras import layers, ops

import keras_distill as kd
from keras_distill import _compiled, _search
from keras_distill._compiled import _pairing

L, M = keras.losses, keras.metrics
CLASSES = kd.losses.SoftTargets(2.0)


def with_penalty(y, z):
    found = L.sparse_categorical_crossentropy(y, z, from_logits=True)
    return found + 1e-4 * ops.logsumexp(z, axis=-1) ** 2


def test_a_penalty_on_the_normaliser_is_refused_without_the_mark():
    outputs = [_pairing.Output((), (None, 3), CLASSES)]
    with pytest.raises(ValueError, match="kd.losses.on_logits"):
        _compiled.check(with_penalty, [], outputs)
    marked = kd.losses.on_logits(with_penalty)
    plain, own = models.linear(), models.linear()
    x, y = models.data(8)
    model = kd.Distiller(
        None, own, CLASSES, soft_loss_weight=0, hard_loss_weight=1.0
    )
    model.compile("sgd", marked, metrics=[marked])
    plain.compile("sgd", with_penalty, metrics=[with_penalty])
    expected = models.fit(plain, x, y)
    found = models.fit(model, x, y)
    assert {n: found[n] for n in expected} == expected
    assert "with_penalty" in expected


MARKABLE = [
    (L.KLDivergence(), False),
    (L.Dice(reduction="sum"), False),
    ("kl_divergence", False),
    (L.poisson, False),
    (M.AUC(name="own"), True),
    (M.F1Score("micro", threshold=0.5), True),
    ("kl_divergence", True),
    ("mae", True),
    (L.poisson, True),
]
marks = pytest.mark.parametrize(
    ("item", "is_metric"), MARKABLE, ids=lambda value: str(value)[:20]
)
Y, WEIGHTS = np.eye(4, 3, dtype="float32"), np.arange(4, dtype="float32")


def logged(item, is_metric):
    model = keras.Sequential([models.linear(), layers.Activation("sigmoid")])
    if is_metric:
        model.compile("sgd", "mse", weighted_metrics=[item])
    else:
        model.compile("sgd", item)
    x, _ = models.data(4)
    return models.evaluate(model, x, Y, sample_weight=WEIGHTS)


@marks
@pytest.mark.once
def test_a_mark_changes_no_value_and_no_name(item, is_metric):
    expected = logged(item, is_metric)
    assert len(expected) == 1 + is_metric
    marked = kd.losses.on_logits(item)
    assert kd.losses.on_logits(marked) is marked
    assert logged(marked, is_metric) == expected


@marks
@pytest.mark.once
def test_a_mark_survives_saving_and_copying(item, is_metric):
    marked = kd.losses.on_logits(item)
    saved = keras.saving.serialize_keras_object(marked)
    loaded = keras.saving.deserialize_keras_object(saved)
    copied = _search.copied({"metrics": [marked]})["metrics"][0]
    for copy in (loaded, copied):
        assert type(copy) is type(marked)
        assert logged(copy, is_metric) == logged(marked, is_metric)
        outputs = [_pairing.Output((), (None, 3), CLASSES)]
        loss, metrics = (None, [copy]) if is_metric else (copy, None)
        _compiled.check(loss, [metrics], outputs)


@pytest.mark.parametrize(
    ("given", "error", "text"),
    [
        ("accuracy", ValueError, "stands for several"),
        ("no_loss", ValueError, "which Keras does not know"),
        (3, TypeError, "loss_or_metric=3 of type int"),
        (L.Dice, TypeError, "of type type"),
        (None, TypeError, "of type NoneType"),
    ],
)
def test_what_is_no_loss_and_no_metric_cannot_be_marked(given, error, text):
    with pytest.raises(error, match="`loss_or_metric` must") as raised:
        kd.losses.on_logits(given)
    assert text in str(raised.value)
    assert "Pass" in str(raised.value)
