"""Variables that share one buffer: on JAX a step uses up that of its state.

Elsewhere `assign` copies, so that the same runs say that all backends agree.
"""

import keras
import models
import numpy as np
import pytest

import keras_distill as kd

X, Y = models.data()


def assign(student, teacher):
    for to, of in zip(student.variables, teacher.variables, strict=True):
        to.assign(of)


def pair():
    """A compiled Distiller of two models of one architecture."""
    teacher = models.sequential(seed=2)
    return models.distiller(teacher, models.sequential(), run_eagerly=False)


def anew(value):
    """The same numbers in another object, on JAX in the same buffer."""
    if keras.backend.backend() != "jax":
        return keras.ops.copy(value)
    import jax

    return jax.device_put(value, value.sharding)


class CountedLooks(kd.Distiller):
    """Counts how often the teacher's buffers are looked at."""

    looks = 0

    def kept_values(self):
        self.looks += 1
        return super().kept_values()


RUNS = {
    "fit": lambda model: models.fit(model, X, Y),
    "evaluate": lambda model: models.evaluate(model, X, Y),
    "predict": lambda model: model.predict(X, verbose=0),
    "train_on_batch": lambda model: models.step(model, X, Y),
    "test_on_batch": lambda model: model.test_on_batch(X, Y),
    "predict_on_batch": lambda model: model.predict_on_batch(X),
}


@pytest.mark.parametrize("run", RUNS)
def test_a_student_that_got_the_teachers_variables_leaves_it_whole(run):
    model = pair()
    before = models.snapshot(model.teacher)
    assign(model.student, model.teacher)
    RUNS[run](model)
    models.assert_same(models.snapshot(model.teacher), before)
    RUNS[run](model)


def test_variables_assigned_before_construction_or_between_fits():
    teacher, student = models.sequential(seed=2), models.sequential()
    assign(student, teacher)
    model = models.distiller(teacher, student, run_eagerly=False)
    first = models.fit(model, X, Y)
    assign(student, teacher)
    assert models.fit(model, X, Y) == first


def test_a_run_is_that_of_a_student_with_a_copy_of_the_weights():
    copied, shared = pair(), pair()
    copied.student.set_weights(copied.teacher.get_weights())
    assign(shared.student, shared.teacher)
    assert models.fit(shared, X, Y) == models.fit(copied, X, Y)
    found, expected = shared.student, copied.student
    models.assert_same(models.snapshot(found), models.snapshot(expected))


def test_a_teacher_that_follows_the_student_from_step_to_step():
    """A callback may assign at any batch, and the next step must run."""
    model = pair()
    seen = []

    def follow(batch, logs):
        if keras.backend.backend() == "jax":
            model.jax_state_sync()
        assign(model.teacher, model.student)
        seen.append(models.snapshot(model.student))

    callback = keras.callbacks.LambdaCallback(on_train_batch_end=follow)
    models.fit(model, X, Y, epochs=2, callbacks=[callback])
    assert len(seen) == 4
    assert models.changed(seen[-2], seen[-1])
    models.assert_same(models.snapshot(model.teacher), seen[-1])


def test_two_variables_of_the_student_that_got_one_value():
    student = models.sequential(units=models.CLASSES)
    hidden, head = student.layers
    head.bias.assign(hidden.bias)
    model = models.distiller(models.linear(seed=2), student, run_eagerly=False)
    models.fit(model, X, Y)
    assert models.changed([np.array(head.bias)], [np.array(hidden.bias)])


def test_optimizer_and_student_share_averages_after_a_fit_with_ema():
    model = pair()
    model.compile(keras.optimizers.SGD(use_ema=True), models.CROSSENTROPY)
    first, second = (models.fit(model, X, Y)["loss"] for _ in range(2))
    assert first != second


def test_arrays_of_one_buffer_need_not_be_one_object():
    model = pair()
    before = models.snapshot(model.teacher)
    kernel, other = model.student.variables[0], model.teacher.variables[0]
    kernel.assign(anew(other.value))
    assert kernel.value is not other.value
    models.fit(model, X, Y)
    models.assert_same(models.snapshot(model.teacher), before)


def test_buffers_are_looked_at_where_the_variables_are_read_not_per_step():
    loss = kd.losses.SoftTargets(models.TEMPERATURE)
    model = CountedLooks(models.linear(seed=2), models.linear(), loss)
    model.compile("sgd", models.CROSSENTROPY)
    models.fit(model, X, Y, batch_size=2, epochs=3)
    # Only on JAX does a step use up its state, of which an epoch has one.
    assert model.looks == (3 if keras.backend.backend() == "jax" else 0)
