"""The guide for code of another Distiller: both columns train alike."""

import pathlib
import re

import keras
import models
import numpy as np
import pytest
from keras import layers, ops

import keras_distill as kd

PAGE = pathlib.Path(__file__).parents[1] / "examples" / "porting.md"
X, Y = models.data(8)


def rows(marker):
    """The cells of a table of the guide, without the quotes of code."""
    part = re.search(
        rf"<!-- {marker} -->\n(.*?)<!-- end -->", PAGE.read_text(), re.DOTALL
    )
    lines = [line.strip() for line in part[1].strip().splitlines()][2:]
    return [
        [cell.strip(" `") for cell in line.strip("| ").split(" | ")]
        for line in lines
    ]


class Classic(keras.Model):
    """As the example on keras.io, but for its words."""

    def __init__(self, student, teacher):
        super().__init__()
        self.student, self.teacher = student, teacher
        teacher.trainable = False

    def set(self, student_loss_fn, distillation_loss_fn, alpha, temperature):
        self.losses_of = student_loss_fn, distillation_loss_fn
        self.alpha, self.temperature = alpha, temperature

    def call(self, x, training=None):
        return self.student(x, training=training)

    def compute_loss(self, x, y, y_pred, sample_weight=None, training=True):
        v, t = self.teacher(x, training=False), self.temperature
        hard, soft = self.losses_of
        softened = [ops.softmax(z / t, axis=-1) for z in (v, y_pred)]
        soft_loss = soft(*softened) * t**2
        return self.alpha * hard(y, y_pred) + (1 - self.alpha) * soft_loss


def net(seed, units):
    keras.utils.set_random_seed(seed)
    hidden = layers.Dense(units, "tanh", name="hidden")
    inputs = keras.Input((models.FEATURES,))
    return keras.Sequential([inputs, hidden, layers.Dense(models.CLASSES)])


def classic(distiller, **kwargs):
    distiller.set(**kwargs)
    return distiller


def made(code):
    names = {
        "kd": kd,
        "KLDivergence": keras.losses.KLDivergence,
        "labels": models.CROSSENTROPY,
        "teacher": net(2, 6),
        "student": net(1, 6),
        "classic": classic,
        **vars(keras.distillation),
    }
    if code.startswith("classic"):
        names["Distiller"] = Classic
    distiller = eval(code, names)
    distiller.compile(keras.optimizers.SGD(0.1), models.CROSSENTROPY)
    return distiller


def trained(code):
    distiller = made(code)
    before = models.snapshot(distiller.student)
    logs = models.fit(distiller, X, Y, epochs=3)
    after = models.snapshot(distiller.student)
    assert any(
        np.abs(a - b).max() > 1e-3 for a, b in zip(after, before, strict=True)
    )
    return after, logs


PAIRS = rows("pairs: keras.distillation") + rows("pairs: keras.io")


def test_the_guide_has_pairs():
    assert len(PAIRS) == 8


@pytest.mark.parametrize("theirs, ours", PAIRS)
def test_both_train_a_student_to_the_same_weights(theirs, ours):
    models.assert_same(trained(ours)[0], trained(theirs)[0], 1e-5)


def test_logs_are_the_same_by_the_names_of_the_guide():
    theirs, ours = PAIRS[1]
    their_logs, our_logs = trained(theirs)[1], trained(ours)[1]
    pairs = rows("logs: keras.distillation")
    assert len(pairs) == 3
    for name, here in pairs:
        np.testing.assert_allclose(our_logs[here], their_logs[name], rtol=1e-4)
