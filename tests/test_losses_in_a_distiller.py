"""Every loss of classes, of a live teacher and of a cache with top-k logits."""

import backend
import every_loss
import keras
import models
import numpy as np
import pytest
from keras import ops

import keras_distill as kd

X, Y = models.data(12)


def live(folder):
    teacher = models.sequential(seed=2)
    return teacher, X, models.logits(teacher, X)


def cached(folder):
    """The 2 largest of 3, which leaves all probability where it was."""
    teacher = models.sequential(seed=2)
    cache = kd.TeacherCache.build(
        teacher, X, folder, dtype="float32", top_k=2, verbose=0
    )
    return None, cache.attach(X)[0], models.logits(teacher, X)


@pytest.mark.parametrize("source", [live, cached])
@pytest.mark.parametrize(
    "loss", [pytest.param(v, id=k) for k, v in every_loss.made().items()]
)
def test_a_loss_is_that_of_the_logits(loss, source, tmp_path):
    teacher, x, logits = source(tmp_path)
    model = kd.Distiller(
        teacher, models.linear(), loss, hard_loss_weight=1, soft_loss_weight=1
    )
    model.compile(
        keras.optimizers.SGD(0.0), models.CROSSENTROPY, run_eagerly=True
    )
    found = models.step(model, x, Y)["soft_loss"]
    logits = ops.convert_to_tensor(logits)
    targets = (logits, Y) if getattr(loss, "uses_labels", False) else logits
    expected = backend.to_numpy(loss(targets, models.linear()(X)))
    assert found == pytest.approx(expected, rel=1e-4)
    assert np.isfinite(expected) and expected > 0
