"""What a Distiller logs, what it refuses, and Keras's callbacks with it."""

import csv
import importlib.util

import keras
import models
import numpy as np
import pytest

pytestmark = pytest.mark.internals

BACKEND = keras.backend.backend()
TRAINING = {"loss", "hard_loss", "soft_loss"}
VALIDATION = {"val_loss", "val_accuracy"}


def linear_distiller(**kwargs):
    return models.distiller(models.linear(seed=2), models.linear(), **kwargs)


# Labelled data.


def test_labelled_fit_logs_the_terms_and_metrics_and_plain_validation():
    model = linear_distiller(metrics=["accuracy"], run_eagerly=False)
    x, y = models.data()
    logs = models.fit(model, x, y, epochs=3, validation_data=(x, y))
    assert set(logs) == TRAINING | {"accuracy"} | VALIDATION
    assert {len(values) for values in logs.values()} == {3}


def test_evaluation_in_the_middle_of_an_epoch_leaves_its_logs_as_they_are():
    x, y = models.data()
    model, other = [linear_distiller(metrics=["accuracy"]) for _ in "ab"]
    seen = []

    def evaluate(batch, logs):
        seen.append(set(model.test_on_batch(x, y, return_dict=True)))

    callback = keras.callbacks.LambdaCallback(on_train_batch_begin=evaluate)
    logs = models.fit(model, x, y, batch_size=16, callbacks=[callback])
    assert seen == [{"loss", "accuracy"}]
    assert logs.keys() == models.fit(other, x, y, batch_size=16).keys()


def test_validation_logs_equal_those_of_the_plain_student():
    model = linear_distiller(metrics=["accuracy"])
    x, y = models.data()
    logs = models.fit(model, x, y, validation_data=(x, y))
    plain = model.student
    plain.compile(loss=models.CROSSENTROPY, metrics=["accuracy"])
    expected = models.evaluate(plain, x, y)
    assert models.evaluate(model, x, y) == models.near(expected)
    for name, value in expected.items():
        assert logs[f"val_{name}"] == models.near([value])


@pytest.mark.parametrize("run_eagerly", [True, False])
def test_logs_are_means_over_examples_with_a_ragged_last_batch(run_eagerly):
    model = linear_distiller(learning_rate=0.0, run_eagerly=run_eagerly)
    x, y = models.data(20)
    whole = models.step(linear_distiller(learning_rate=0.0), x, y)
    assert set(whole) == TRAINING
    logs = models.fit(model, x, y, epochs=2)
    for name, value in whole.items():
        assert logs[name] == pytest.approx([value, value], rel=1e-5)


@pytest.mark.parametrize("run_eagerly", [True, False])
def test_fit_evaluate_fit_keeps_the_right_keys(run_eagerly):
    model = linear_distiller(metrics=["accuracy"], run_eagerly=run_eagerly)
    x, y = models.data()
    for _ in range(2):
        assert set(models.fit(model, x, y)) == TRAINING | {"accuracy"}
        assert set(models.evaluate(model, x, y)) == {"loss", "accuracy"}
        assert set(models.step(model, x, y)) == TRAINING | {"accuracy"}


def test_weight_zero_of_the_soft_term_hides_its_log():
    model = linear_distiller(hard=1.0, soft=0.0)
    assert set(models.step(model, *models.data(8))) == {"loss", "hard_loss"}


# Unlabelled data, and labels without a loss.


@pytest.mark.parametrize("run_eagerly", [True, False])
def test_unlabelled_fit_logs_only_loss_and_soft_loss(run_eagerly):
    model = linear_distiller(loss=None, run_eagerly=run_eagerly)
    logs = models.fit(model, models.data()[0], epochs=2)
    assert set(logs) == {"loss", "soft_loss"}
    assert logs["loss"] == models.near([0.7 * v for v in logs["soft_loss"]])


@pytest.mark.parametrize("run_eagerly", [True, False])
def test_unlabelled_fit_with_labelled_validation(run_eagerly):
    model = linear_distiller(hard=0.0, run_eagerly=run_eagerly)
    x, y = models.data()
    logs = models.fit(model, x, epochs=2, validation_data=(x, y))
    assert set(logs) == {"loss", "soft_loss", "val_loss"}
    plain = models.CROSSENTROPY(y, models.logits(model.student, x))
    assert logs["val_loss"][-1] == pytest.approx(float(plain), rel=1e-5)


def test_loss_none_uses_labels_for_metrics_and_logs_no_loss_in_evaluate():
    model = linear_distiller(hard=0.0, loss=None, metrics=["accuracy"])
    x, y = models.data()
    logs = models.fit(model, x, y, validation_data=(x, y))
    assert set(logs) == {"loss", "soft_loss", "accuracy", "val_accuracy"}
    assert set(models.evaluate(model, x, y)) == {"accuracy"}


def test_labelled_and_unlabelled_fits_take_turns():
    model = linear_distiller(hard=0.0, metrics=["accuracy"], run_eagerly=False)
    x, y = models.data()
    for _ in range(2):
        assert set(models.fit(model, x, y)) == TRAINING | {"accuracy"}
        assert set(models.fit(model, x)) == {"loss", "soft_loss"}


def test_a_first_fit_without_labels_leaves_their_metrics_out():
    model = linear_distiller(hard=0.0, metrics=["accuracy"], run_eagerly=False)
    x, y = models.data()
    logs = models.fit(model, x, validation_data=(x, y))
    assert set(logs) == {"loss", "soft_loss"} | VALIDATION


def test_evaluate_without_labels_is_refused():
    model = linear_distiller(hard=0.0)
    with pytest.raises(ValueError, match="no labels.*evaluate_fidelity"):
        models.evaluate(model, models.data()[0])


def test_evaluate_without_loss_and_metrics_is_refused():
    model = linear_distiller(loss=None, hard=0.0)
    with pytest.raises(ValueError, match="nothing to evaluate"):
        models.evaluate(model, *models.data())


REFUSED_LABELS = {
    "unused": (None, True, "labels would be ignored.*hard_loss_weight=0"),
    "missing": (models.CROSSENTROPY, False, "no labels for the compiled loss"),
}


@pytest.mark.parametrize(
    "loss, labelled, message", REFUSED_LABELS.values(), ids=REFUSED_LABELS
)
@pytest.mark.parametrize("run_eagerly", [True, False])
def test_refused_labels_leave_the_student_as_it_was(
    loss, labelled, message, run_eagerly
):
    model = linear_distiller(loss=loss, run_eagerly=run_eagerly)
    x, y = models.data()
    before = models.snapshot(model.student)
    with pytest.raises(ValueError, match=message):
        models.fit(model, x, y if labelled else None)
    models.assert_same(models.snapshot(model.student), before)


# Losses and models that end in probabilities, and bad values.


@pytest.mark.parametrize(
    "loss",
    [
        "sparse_categorical_crossentropy",
        keras.losses.SparseCategoricalCrossentropy(),
        keras.losses.categorical_crossentropy,
        [keras.losses.CategoricalCrossentropy(from_logits=False)],
    ],
)
def test_a_compiled_loss_of_probabilities_is_refused(loss):
    model = linear_distiller(loss=loss)
    with pytest.raises(ValueError, match="from_logits=True"):
        models.fit(model, *models.data())


@pytest.mark.parametrize("role", ["teacher", "student"])
def test_a_model_that_ends_in_softmax_is_refused(role):
    pair = {"teacher": models.linear(), "student": models.linear()}
    pair[role] = models.linear(activation="softmax")
    with pytest.raises(ValueError, match=rf"kd\.as_logits\({role}\)"):
        models.distiller(**pair)


class Probabilities(models.Subclassed):
    """Ends in a softmax that no graph shows."""

    def call(self, inputs):
        return keras.ops.softmax(super().call(inputs))


def test_eager_steps_refuse_a_teacher_that_outputs_probabilities():
    model = models.distiller(Probabilities(), models.linear())
    with pytest.raises(ValueError, match=r"kd\.as_logits\(teacher\)"):
        models.step(model, *models.data(8))


def test_eager_steps_refuse_teacher_logits_that_are_not_finite():
    model = models.distiller(nan_teacher(), models.linear())
    with pytest.raises(ValueError, match="logits are not finite.*24 of 24"):
        models.step(model, *models.data(8))


def test_eager_steps_refuse_labels_out_of_range():
    x, y = models.data(8)
    with pytest.raises(
        ValueError, match="3 output units. Received: 0 .*8 above 2, of 8"
    ):
        models.step(linear_distiller(), x, np.full_like(y, 3))


def nan_teacher():
    teacher = models.linear(seed=2)
    (kernel,) = models.snapshot(teacher)
    teacher.set_weights([np.full_like(kernel, np.nan)])
    return teacher


# Callbacks.


def test_terminate_on_nan_stops_a_compiled_fit():
    model = linear_distiller(run_eagerly=False)
    x, y = models.data()
    x[-1] = np.nan  # Not in the first batch, which is checked.
    callback = keras.callbacks.TerminateOnNaN()
    logs = models.fit(model, x, y, epochs=3, callbacks=[callback])
    assert np.isnan(logs["loss"]).tolist() == [True]


def test_early_stopping_restores_the_best_student():
    model = linear_distiller(hard=1.0, soft=0.1, run_eagerly=False)
    x, _ = models.data()
    # Trained on other labels, the student gets worse at its first answers.
    answers = models.logits(model.student, x).argmax(axis=-1)
    y = (answers + 1) % models.CLASSES
    seen = []
    note = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: seen.append(
            (float(logs["val_loss"]), models.snapshot(model.student))
        )
    )
    stop = keras.callbacks.EarlyStopping(
        monitor="val_loss", patience=2, restore_best_weights=True
    )
    models.fit(
        model,
        x,
        y,
        epochs=9,
        validation_data=(x, answers),
        callbacks=[note, stop],
    )
    losses = [loss for loss, _ in seen]
    best = int(np.argmin(losses))
    assert len(seen) == best + 3 < 9
    models.assert_same(models.snapshot(model.student), seen[best][1])


def test_reduce_lr_on_plateau_and_csv_logger(tmp_path):
    path = tmp_path / "log.csv"
    callbacks = [
        keras.callbacks.ReduceLROnPlateau(
            monitor="val_loss", factor=0.5, patience=1, min_delta=9.0
        ),
        keras.callbacks.CSVLogger(path),
    ]
    model = linear_distiller()
    x, y = models.data()
    models.fit(
        model, x, y, epochs=2, validation_data=(x, y), callbacks=callbacks
    )
    assert float(model.optimizer.learning_rate) == pytest.approx(0.05)
    rows = list(csv.DictReader(path.read_text().splitlines()))
    assert len(rows) == 2
    assert TRAINING | {"epoch", "val_loss"} <= set(rows[0])


def test_a_callback_can_read_the_teacher_after_each_batch():
    model = models.distiller(
        models.noisy(seed=2), models.noisy(), run_eagerly=False
    )
    before, seen = models.snapshot(model.teacher), []
    read = keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda batch, logs: seen.append(
            models.snapshot(model.teacher)
        )
    )
    models.fit(model, *models.data(), callbacks=[read])
    assert len(seen) == 2
    for snapshot in seen:
        models.assert_same(snapshot, before)


@pytest.mark.parametrize("moment", ["begin", "end"])
def test_steps_made_anew_within_an_epoch_change_nothing(moment):
    x, y = models.data()
    model, other = [linear_distiller(run_eagerly=False) for _ in "ab"]
    made = []

    def make(batch, logs=None):
        model.make_train_function(force=True)
        made.append(model.train_function)

    callback = keras.callbacks.LambdaCallback(
        **{f"on_train_batch_{moment}": make}
    )
    logs = models.fit(model, x, y, epochs=2, callbacks=[callback])
    assert len(set(made)) == 4
    assert logs == models.fit(other, x, y, epochs=2)
    models.assert_same(*(models.snapshot(m.student) for m in (model, other)))


@pytest.mark.skipif(BACKEND != "jax", reason="Keras distributes on JAX alone")
def test_steps_made_anew_under_a_distribution_change_nothing():
    devices = keras.distribution.list_devices()[:1]
    with keras.distribution.DataParallel(devices=devices).scope():
        test_steps_made_anew_within_an_epoch_change_nothing("end")


def test_a_failing_fit_keeps_what_a_callback_has_changed():
    model = linear_distiller(run_eagerly=False)
    other = models.snapshot(models.linear(seed=5))

    def batches():
        yield from [models.data(8)] * 2
        raise RuntimeError("the data broke off")

    def change(epoch, logs):
        model.student.set_weights(other)
        model.optimizer.learning_rate = 0.5

    callback = keras.callbacks.LambdaCallback(on_epoch_end=change)
    with pytest.raises(Exception, match="the data broke off"):
        model.fit(
            batches(),
            steps_per_epoch=2,
            epochs=2,
            shuffle=False,
            verbose=0,
            callbacks=[callback],
        )
    models.assert_same(models.snapshot(model.student), other)
    assert float(model.optimizer.learning_rate) == 0.5


# Keras's TensorBoard callback needs both packages, on every backend.
@pytest.mark.skipif(
    not all(map(importlib.util.find_spec, ("tensorflow", "tensorboard"))),
    reason="TensorFlow or TensorBoard is not installed",
)
def test_tensorboard_writes_training_and_validation_summaries(tmp_path):
    callback = keras.callbacks.TensorBoard(tmp_path, update_freq="batch")
    x, y = models.data()
    options = {"validation_data": (x, y), "callbacks": [callback]}
    models.fit(linear_distiller(), x, y, **options)
    written = {path.parent.name for path in tmp_path.rglob("*tfevents*")}
    assert written == {"train", "validation"}
