"""Callbacks that watch: students that change, and what is refused in time."""

import copy

import keras
import models
import numpy as np
import pytest

import keras_distill as kd

T = 4.0
X, Y = models.data(20)
BOTH = [kd.callbacks.Fidelity, kd.callbacks.Diagnostics]
each_callback = pytest.mark.parametrize("cls", BOTH)


def distilled(loss=None, **kwargs):
    teacher, student = models.sequential(seed=2), models.sequential(units=4)
    student = kwargs.pop("student", student)
    loss = loss or kd.losses.TTM(T)
    model = kd.Distiller(teacher, student, loss, soft_loss_weight=1.0)
    model.compile(keras.optimizers.SGD(0.5), models.CROSSENTROPY, **kwargs)
    return model


def fitted(model, *callbacks, epochs=1):
    fit = {"batch_size": 10, "shuffle": False, "verbose": 0}
    callbacks = list(callbacks)
    return model.fit(X, Y, epochs=epochs, callbacks=callbacks, **fit).history


def test_variables_that_a_student_gets_between_fits_count():
    model = distilled()
    watch = kd.callbacks.Fidelity(model.teacher, (X,))
    fitted(model, watch)
    model.student.layers[0].enable_lora(2)
    model.compile(keras.optimizers.SGD(0.5), models.CROSSENTROPY)
    history = fitted(model, watch, epochs=3)
    found = kd.evaluate_fidelity(model.teacher, model.student, (X,), verbose=0)
    expected = pytest.approx(found["kl_divergence"], rel=1e-4)
    assert history["val_kl"][-1] == expected


class Noting(keras.Model):
    """Notes of what type its inputs are."""

    def __init__(self):
        super().__init__()
        self.head = keras.layers.Dense(models.CLASSES)
        self.types = []

    def call(self, inputs):
        self.types.append(type(inputs).__name__)
        return self.head(inputs)


@pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="where types tell"
)
@each_callback
def test_a_student_that_runs_eagerly_is_watched_eagerly(cls):
    student = Noting()
    model = distilled(student=student, run_eagerly=True)
    watch = cls(model.teacher, (X,))
    fitted(model, watch)
    student.types.clear()
    watch.on_epoch_end(0, {})
    assert set(student.types) == {"EagerTensor"}


@each_callback
def test_a_callback_of_another_kind_than_the_loss_is_refused(cls):
    model = distilled(kd.losses.SigmoidTargets(T))
    model.compile("sgd", keras.losses.BinaryCrossentropy(from_logits=True))
    watch = cls(model.teacher, (X,))
    watch.set_model(model)
    with pytest.raises(ValueError, match="compares labels.*kind='labels'"):
        watch.on_train_begin()


@each_callback
def test_data_without_weight_are_refused(cls):
    model = distilled()
    with pytest.raises(ValueError, match="at least one batch of positive"):
        fitted(model, cls(model.teacher, (X, Y, np.zeros(20))))


class Endless(keras.utils.PyDataset):
    @property
    def num_batches(self):
        return None


@each_callback
def test_data_without_an_end_are_refused(cls):
    with pytest.raises(ValueError, match="read to its end.*Endless"):
        cls(models.sequential(), Endless())


@pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="imports TensorFlow"
)
@each_callback
def test_a_repeated_tf_dataset_is_refused(cls):
    import tensorflow as tf

    data = tf.data.Dataset.from_tensor_slices((X, Y)).batch(5)
    with pytest.raises(ValueError, match="read to its end"):
        cls(models.sequential(), data.repeat())
    model = distilled()
    assert fitted(model, cls(model.teacher, data.repeat().take(3)))


@each_callback
def test_what_is_wrong_shows_before_an_epoch_is_over(cls):
    logits = np.zeros((20, 5), "float32")
    model = distilled()
    steps = []
    count = keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda batch, logs: steps.append(1)
    )
    with pytest.raises(ValueError, match="same shape"):
        fitted(model, cls(None, (kd.WithTeacherLogits(X, logits), Y)), count)
    assert not steps


@each_callback
def test_inputs_with_logits_by_themselves(cls):
    model = distilled()
    pair = kd.WithTeacherLogits(X, models.logits(model.teacher, X))
    one, other = (
        fitted(distilled(), cls(None, data)) for data in (pair, (pair,))
    )
    assert one == other


def test_a_new_loss_without_a_temperature_is_refused_by_name():
    model = distilled()

    def change(epoch, logs):
        model.distillation_loss = kd.losses.LogitMatching()

    change = keras.callbacks.LambdaCallback(on_epoch_begin=change)
    watch = kd.callbacks.Diagnostics(model.teacher, (X,))
    with pytest.raises(ValueError, match="LogitMatching.*temperature=4.0"):
        fitted(model, change, watch)


@each_callback
def test_a_copy_of_a_subclass_has_its_own_notes(cls):
    class Own(cls):
        def __init__(self, *args):
            super().__init__(*args)
            self.notes = []

    watch = Own(models.sequential(), (X,))
    copy.deepcopy(watch).notes.append("of another trial")
    assert watch.notes == []
