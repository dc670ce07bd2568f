"""What a Distiller optimises, and whom it leaves alone."""

import keras
import models
import numpy as np
import pytest
import reference
from keras import layers

import keras_distill as kd

pytestmark = pytest.mark.internals

ONE_HOT = np.eye(models.CLASSES)


def cross_entropy(logits, labels):
    log_p = np.log(reference.softmax(logits))
    return -(ONE_HOT[labels] * log_p).sum(axis=-1)


def hard_and_soft(teacher, student, x, y):
    """Both losses of each example, by hand."""
    z, v = models.logits(student, x), models.logits(teacher, x)
    soft = reference.soft_targets(v, z, models.TEMPERATURE)
    return cross_entropy(z, y), soft


# The objective.


def test_loss_adds_both_terms_regularisers_and_add_loss_once():
    teacher, student = models.linear(seed=2), models.penalised()
    x, y = models.data(8)
    kernel = student.get_weights()[0]
    hard, soft = (t.mean() for t in hard_and_soft(teacher, student, x, y))
    own = 0.1 * (kernel**2).sum() + (models.logits(student, x) ** 2).mean()

    model = models.distiller(teacher, student, learning_rate=0.0)
    logs = models.step(model, x, y)

    assert logs["hard_loss"] == pytest.approx(hard, rel=1e-5)
    assert logs["soft_loss"] == pytest.approx(soft, rel=1e-5)
    assert logs["loss"] == models.near(0.3 * hard + 0.7 * soft + own)


def test_one_step_follows_the_gradient_of_the_objective():
    l2 = keras.regularizers.L2(0.1)
    student = models.linear(kernel_regularizer=l2)
    teacher = models.linear(seed=2)
    x, y = models.data(8)
    z, v = models.logits(student, x), models.logits(teacher, x)
    (kernel,) = models.snapshot(student)
    hard = reference.softmax(z) - ONE_HOT[y]
    soft = reference.soft_targets_gradient(v, z, models.TEMPERATURE)
    gradient = x.T @ (0.3 * hard + 0.7 * soft) / len(x) + 2 * 0.1 * kernel

    models.step(models.distiller(teacher, student), x, y)

    models.assert_same(
        models.snapshot(student), [kernel - 0.1 * gradient], atol=1e-6
    )


@pytest.mark.parametrize("soft", [0.0, 1e-9], ids=["no_soft", "tiny_soft"])
def test_training_equals_plain_keras_where_the_teacher_has_no_say(soft):
    # With dropout, batch normalisation and a regulariser.
    plain, student = models.noisy(), models.noisy()
    plain.compile(keras.optimizers.SGD(0.1), loss=models.CROSSENTROPY)
    model = models.distiller(
        models.noisy(seed=2), student, 1.0, soft, run_eagerly=False
    )
    x, y = models.data(20)

    expected = models.fit(plain, x, y, epochs=2)["loss"]
    assert models.fit(model, x, y, epochs=2)["loss"] == models.near(expected)
    models.assert_same(
        models.snapshot(student), models.snapshot(plain), atol=1e-6
    )


def test_teacher_is_not_run_for_a_soft_weight_of_zero():
    teacher = models.Recorder(models.linear(seed=2))
    models.step(
        models.distiller(teacher, models.linear(), 1.0, 0.0), *models.data(8)
    )
    assert teacher.calls == []


# Sample weights, class weights and masks weight both terms.


@pytest.mark.parametrize("hard, soft", [(1, 0), (0, 1)])
def test_sample_weight_zero_removes_an_example_from_each_term(hard, soft):
    x, y = models.data(8)
    whole, half = models.linear(), models.linear()
    teacher = models.linear(seed=2)
    # The mean is over all 8 examples, so its gradient is half as large.
    models.step(
        models.distiller(teacher, whole, hard, soft, learning_rate=0.2),
        x,
        y,
        sample_weight=np.repeat([1.0, 0.0], 4).astype("float32"),
    )
    models.step(models.distiller(teacher, half, hard, soft), x[:4], y[:4])
    models.assert_same(models.snapshot(whole), models.snapshot(half), 1e-6)


@pytest.mark.parametrize("hard, soft", [(1, 0), (0, 1)])
def test_class_weight_equals_sample_weight_in_each_term(hard, soft):
    x, y = models.data(8)
    table = np.array([1.0, 3.0, 0.0], "float32")
    by_class, by_sample, unweighted = students = [
        models.linear() for _ in range(3)
    ]
    a, b, c = [
        models.distiller(models.linear(seed=2), student, hard, soft)
        for student in students
    ]
    models.step(a, x, y, class_weight=dict(enumerate(table.tolist())))
    models.step(b, x, y, sample_weight=table[y])
    models.step(c, x, y)
    models.assert_same(
        models.snapshot(by_class), models.snapshot(by_sample), atol=1e-7
    )
    assert models.changed(
        models.snapshot(by_class), models.snapshot(unweighted)
    )


def test_sample_weight_applies_to_unlabelled_data():
    teacher, student = models.linear(seed=2), models.linear()
    x, y = models.data(8)
    weight = np.arange(8, dtype="float32")
    _, soft = hard_and_soft(teacher, student, x, y)
    model = models.distiller(teacher, student, loss=None, learning_rate=0.0)
    logs = models.step(model, x, sample_weight=weight)
    assert logs["soft_loss"] == models.near((weight * soft).mean())


def test_a_later_compile_without_a_loss_has_none():
    teacher, student = models.linear(seed=2), models.linear()
    x, y = models.data(8)
    model = models.distiller(teacher, student, learning_rate=0.0)
    model.fit(x, y, verbose=0)
    model.compile(keras.optimizers.SGD(0.0), metrics=["accuracy"])
    assert sorted(model.fit(x, verbose=0).history) == ["loss", "soft_loss"]
    with pytest.raises(ValueError, match="labels would be ignored"):
        model.fit(x, y, verbose=0)
    model.hard_loss_weight = 0
    logs = model.fit(x, y, validation_data=(x, y), verbose=0).history
    assert {"hard_loss", "val_loss"}.isdisjoint(logs)
    assert logs["loss"] == models.near(
        [float(model.soft_loss_weight * logs["soft_loss"][0])]
    )


@pytest.mark.parametrize("masked", [False, True], ids=["unmasked", "masked"])
@pytest.mark.parametrize("weights", ["none", "per_example", "per_step"])
def test_sequences_are_weighted_and_masked_in_both_terms(weights, masked):
    teacher, student = models.tagger(masked, 2), models.tagger(masked)
    words, labels = models.sequences()
    terms = hard_and_soft(teacher, student, words, labels)
    weight = {
        "none": None,
        "per_example": np.arange(8, dtype="float32"),
        "per_step": np.arange(40, dtype="float32").reshape(8, 5),
    }[weights]
    factor = np.ones((8, 1)) if weight is None else weight.reshape(8, -1)
    mask = words != 0 if masked else np.ones_like(words)
    hard, soft = [(t * factor * mask).sum() / mask.sum() for t in terms]

    model = models.distiller(teacher, student, learning_rate=0.0)
    logs = models.step(model, words, labels, sample_weight=weight)

    assert logs["hard_loss"] == pytest.approx(hard, rel=1e-5)
    assert logs["soft_loss"] == pytest.approx(soft, rel=1e-5)


# The teacher never changes.


@pytest.mark.parametrize("trainable", [True, False])
def test_teacher_is_bit_identical_after_fit_evaluate_and_predict(trainable):
    teacher, student = models.noisy(seed=2), models.noisy()
    teacher.trainable = trainable
    before, weights = models.snapshot(teacher), len(teacher.trainable_weights)
    start = models.snapshot(student)
    model = models.distiller(teacher, student, run_eagerly=False)
    x, y = models.data()
    models.fit(model, x, y, epochs=2, validation_data=(x, y))
    models.evaluate(model, x, y)
    model.predict(x, verbose=0)

    models.assert_same(models.snapshot(teacher), before)
    assert models.changed(start, models.snapshot(student))
    assert teacher.trainable is trainable
    assert len(teacher.trainable_weights) == weights


@pytest.mark.parametrize("run_eagerly", [False, True])
def test_teacher_survives_a_fit_that_fails_in_the_middle(run_eagerly):
    teacher = models.noisy(seed=2)
    before = models.snapshot(teacher)
    model = models.distiller(teacher, models.noisy(), run_eagerly=run_eagerly)

    def batches():
        yield models.data(8)
        yield models.data(8)
        raise RuntimeError("the data broke off")

    with pytest.raises(Exception, match="the data broke off"):
        model.fit(batches(), steps_per_epoch=5, shuffle=False, verbose=0)
    models.assert_same(models.snapshot(teacher), before)


def test_a_teacher_with_a_layer_that_the_student_trains_is_refused():
    shared = layers.Dense(models.CLASSES)
    inputs = keras.Input((models.FEATURES,))
    teacher = keras.Model(inputs, shared(inputs))
    student = keras.Model(inputs, shared(layers.Dense(4)(inputs)))
    with pytest.raises(ValueError, match="must not share layers.*clone_model"):
        models.distiller(teacher, student)
    assert shared.trainable


def test_a_shared_frozen_layer_is_allowed_and_stays_as_it_is():
    shared = layers.Dense(models.FEATURES, trainable=False)
    inputs = keras.Input((models.FEATURES,))
    teacher, student = [
        keras.Model(inputs, layers.Dense(models.CLASSES)(shared(inputs)))
        for _ in range(2)
    ]
    before = models.snapshot(shared), models.snapshot(teacher)
    start = models.snapshot(student)
    models.fit(models.distiller(teacher, student), *models.data())
    models.assert_same(models.snapshot(shared), before[0])
    models.assert_same(models.snapshot(teacher), before[1])
    assert models.changed(start, models.snapshot(student))


def test_a_teacher_that_is_the_student_is_refused():
    student = models.sequential()
    with pytest.raises(ValueError, match="must be two models"):
        models.distiller(student, student)


def test_a_teacher_that_contains_the_student_is_refused():
    student = models.sequential()
    inputs = keras.Input((models.FEATURES,))
    logits = layers.Dense(models.CLASSES)(student(inputs))
    with pytest.raises(ValueError, match="must not share layers"):
        models.distiller(keras.Model(inputs, logits), student)


# The student alone is evaluated, and each model runs once in a step.


@pytest.mark.parametrize("run_eagerly", [False, True])
def test_evaluate_and_predict_change_no_variable(run_eagerly):
    student = models.noisy()
    model = models.distiller(
        models.noisy(seed=2), student, run_eagerly=run_eagerly
    )
    x, y = models.data()
    models.fit(model, x, y)
    before = models.snapshot(student), models.snapshot(model.optimizer)
    models.evaluate(model, x, y)
    model.predict(x, verbose=0)
    models.assert_same(models.snapshot(student), before[0])
    models.assert_same(models.snapshot(model.optimizer), before[1])


@pytest.mark.parametrize("run_eagerly", [False, True])
def test_evaluate_and_predict_never_call_the_teacher(run_eagerly):
    teacher = models.Recorder(models.linear(seed=2))
    model = models.distiller(teacher, models.linear(), run_eagerly=run_eagerly)
    x, y = models.data()
    models.evaluate(model, x, y)
    model.predict(x, verbose=0)
    model.test_on_batch(x, y)
    assert teacher.calls == []


def test_a_step_calls_each_model_once_the_student_alone_in_training_mode():
    teacher = models.Recorder(models.linear(seed=2))
    student = models.Recorder(models.linear())
    model = models.distiller(teacher, student)
    batch = models.data(8)
    models.step(model, *batch)
    for _ in range(2):
        teacher.calls.clear(), student.calls.clear()
        models.step(model, *batch)
        assert (teacher.calls, student.calls) == ([False], [True])
        models.evaluate(model, *batch)
        assert (teacher.calls, student.calls) == ([False], [True, False])


# What XLA cannot compile.


def test_a_teacher_that_xla_cannot_compile_keeps_it_from_the_steps():
    teacher = models.linear(seed=2)
    teacher.layers[0].supports_jit = False
    with pytest.warns(UserWarning, match="doesn't support `jit_compile=True"):
        model = models.distiller(
            teacher, models.linear(), run_eagerly=False, jit_compile=True
        )
    assert model.jit_compile is False


# A new teacher.


@pytest.mark.parametrize("run_eagerly", [True, False])
def test_a_teacher_set_between_two_fits_takes_effect(run_eagerly):
    x, _ = models.data(8)
    model = models.distiller(
        models.linear(seed=2),
        models.linear(),
        loss=None,
        run_eagerly=run_eagerly,
    )
    models.fit(model, x)
    model.teacher = models.functional(seed=4)
    soft = soft_loss(model, x)
    assert models.fit(model, x)["soft_loss"] == pytest.approx([soft], rel=1e-5)


@pytest.mark.parametrize("run_eagerly", [True, False])
def test_teacher_weights_changed_between_two_fits_take_effect(run_eagerly):
    x, _ = models.data(8)
    teacher = models.linear(seed=2)
    model = models.distiller(
        teacher, models.linear(), loss=None, run_eagerly=run_eagerly
    )
    models.fit(model, x)
    teacher.set_weights(models.snapshot(models.linear(seed=4)))
    soft = soft_loss(model, x)
    assert models.fit(model, x)["soft_loss"] == pytest.approx([soft], rel=1e-5)


def soft_loss(model, x):
    loss = kd.losses.SoftTargets(models.TEMPERATURE)
    pair = [models.logits(m, x) for m in (model.teacher, model.student)]
    return float(loss(*pair))
