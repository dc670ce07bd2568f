"""Every loss of classes, of a live teacher and of a cache with top-k logits."""

import inspect

import backend
import keras
import models
import numpy as np
import pytest
from keras import ops

import keras_distill as kd

X, Y = models.data(12)
SOFT = kd.losses.SoftTargets(2.0)
ARGUMENTS = {"temperature": 2.0, "loss": SOFT, "losses": [SOFT, SOFT]}


def made():
    """One of each public class, also of one that is new."""
    public = [getattr(kd.losses, name) for name in kd.losses.__all__]
    classes = [one for one in public if inspect.isclass(one)]
    for cls in (c for c in classes if issubclass(c, keras.losses.Loss)):
        needed = inspect.signature(cls).parameters
        given = {k: v for k, v in ARGUMENTS.items() if k in needed}
        loss = cls(**given)
        if loss.compares == "classes":
            yield pytest.param(loss, id=cls.__name__)


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
@pytest.mark.parametrize("loss", list(made()))
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
