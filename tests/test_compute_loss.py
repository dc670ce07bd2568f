"""`compute_loss` called by the user, as in a training loop of one's own."""

import backend
import keras
import models
import numpy as np
import pytest
from keras import layers

import keras_distill as kd

X, Y = models.data(8)
WEIGHTS = np.arange(8, dtype="float32") / 4


def build(teacher=models.linear, **kwargs):
    teacher = teacher and teacher(seed=2)
    kwargs = {"loss": models.CROSSENTROPY, **kwargs}
    return models.distiller(teacher, models.penalised(), **kwargs)


def by_hand(model, x, y, training, sample_weight=None):
    inputs = x.inputs if isinstance(x, kd.WithTeacherLogits) else x
    y_pred = model.student(inputs, training=training)
    loss = model.compute_loss(x, y, y_pred, sample_weight, training=training)
    return float(backend.to_numpy(loss))


def attached():
    logits = models.logits(models.linear(seed=2), X)
    return kd.WithTeacherLogits(X, logits)


CASES = {
    "labelled": (build, X, Y, None),
    "weighted": (build, X, Y, WEIGHTS),
    "unlabelled": (lambda: build(loss=None), X, None, None),
    "soft alone": (lambda: build(hard=0), X, Y, None),
    "hard alone": (lambda: build(soft=0), X, Y, None),
    "attached": (lambda: build(teacher=None), attached(), Y, None),
    "compiled": (lambda: build(run_eagerly=False), X, Y, None),
}


@pytest.mark.parametrize("kind", CASES)
def test_raw_labels_in_training_give_the_loss_of_a_step(kind):
    make, x, y, weights = CASES[kind]
    model = make()
    found = by_hand(model, x, y, True, weights)
    step = models.step(model, x, y, sample_weight=weights)
    assert found == pytest.approx(step["loss"], rel=1e-6)


@pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["plain", "weighted"])
def test_outside_of_training_it_is_the_students_compiled_loss(weights):
    model = build()
    student = model.student
    student.compile(loss=models.CROSSENTROPY)
    args = X, Y, student(X), weights
    loss = student.compute_loss(*args, training=False)
    expected = float(backend.to_numpy(loss))
    found = by_hand(model, X, Y, False, weights)
    assert found == pytest.approx(expected, rel=1e-6)
    logs = model.test_on_batch(X, Y, sample_weight=weights, return_dict=True)
    assert found == pytest.approx(float(logs["loss"]), rel=1e-6)


def test_training_is_what_keras_has_it_be_where_nothing_is_said():
    model = build()
    y_pred = model.student(X)
    whole = float(backend.to_numpy(model.compute_loss(X, Y, y_pred)))
    assert whole == by_hand(model, X, Y, True)
    assert whole != pytest.approx(by_hand(model, X, Y, False))


def test_it_follows_what_is_changed():
    model = build()
    before = by_hand(model, X, Y, True)
    model.soft_loss_weight = 2 * model.soft_loss_weight
    model.distillation_loss.temperature = 5.0
    model.teacher = models.linear(seed=4)
    found = by_hand(model, X, Y, True)
    assert found != pytest.approx(before)
    step = models.step(model, X, Y)
    assert found == pytest.approx(step["loss"], rel=1e-6)


def test_it_changes_no_weight_of_the_teacher_and_runs_it_once():
    teacher = models.Recorder(models.noisy(seed=2))
    model = models.distiller(teacher, models.linear())
    before = models.snapshot(teacher)
    by_hand(model, X, Y, True)
    assert teacher.calls == [False]
    by_hand(model, X, Y, False)
    assert teacher.calls == [False]
    models.assert_same(models.snapshot(teacher), before)


def test_a_distiller_without_teacher_says_so():
    with pytest.raises(ValueError, match="has no teacher"):
        by_hand(build(teacher=None), X, Y, True)


def test_a_subclass_that_adds_to_the_objective_is_asked_in_a_step():
    class Added(kd.Distiller):
        def compute_loss(self, x, y, y_pred, sample_weight, training=True):
            args = x, y, y_pred, sample_weight
            return 1.0 + super().compute_loss(*args, training=training)

    loss = kd.losses.SoftTargets(models.TEMPERATURE)
    plain = build()
    added = Added(
        models.linear(seed=2),
        models.penalised(),
        loss,
        hard_loss_weight=0.3,
        soft_loss_weight=0.7,
    )
    added.compile("sgd", models.CROSSENTROPY)
    expected = 1.0 + models.step(plain, X, Y)["loss"]
    assert models.step(added, X, Y)["loss"] == models.near(expected)


def test_dropout_runs_as_the_student_was_called():
    inputs = keras.Input((models.FEATURES,))
    x = layers.Dense(models.CLASSES)(inputs)
    student = keras.Model(inputs, layers.Dropout(0.5)(x))
    model = models.distiller(models.linear(seed=2), student)
    quiet = model.compute_loss(X, Y, student(X), training=True)
    assert float(backend.to_numpy(quiet)) != by_hand(model, X, Y, True)
