"""A Distiller in the place of a model, in what Keras promises of models.

The intents are those of Keras's tests of its own training loop, and of those of
`keras.distillation`, as far as no other file here has them.
"""

import keras
import models
import numpy as np
import pytest
from keras import layers

import keras_distill as kd

X, Y = models.data(20)
TORCH = keras.backend.backend() == "torch"
one_step_at_a_time = pytest.mark.skipif(
    TORCH, reason="Keras on torch has no steps_per_execution"
)
LOGS = ["accuracy", "hard_loss", "loss", "soft_loss"]
EVALUATED = ["accuracy", "loss"]


def build(student=None, teacher=None, run_eagerly=False, **kwargs):
    kwargs = {"metrics": ["accuracy"], **kwargs}
    student = student or models.sequential()
    teacher = teacher or models.linear(seed=2)
    return models.distiller(teacher, student, run_eagerly=run_eagerly, **kwargs)


class Record(keras.callbacks.Callback):
    """Notes which hooks are called, with which batch and which logs."""

    def __init__(self):
        super().__init__()
        self.calls = []

    def of(self, name):
        return [call[1:] for call in self.calls if call[0] == name]


def noting(name):
    def hook(self, *args, logs=None):
        *index, logs = args if args and logs is None else [*args, logs]
        self.calls.append((name, *index, sorted(logs or {})))

    return hook


for _phase in ("train", "test", "predict"):
    for _place in ("begin", "end", "batch_begin", "batch_end"):
        _name = f"on_{_phase}_{_place}"
        setattr(Record, _name, noting(_name))
for _name in ("on_epoch_begin", "on_epoch_end"):
    setattr(Record, _name, noting(_name))


# What is compiled.


def test_metrics_come_in_keras_order_and_once():
    student = models.sequential()
    student.compile("sgd", "mse", metrics=["mse"])  # Of no account here.
    model = build(student)
    models.fit(model, X, Y)
    names = [metric.name for metric in model.metrics]
    assert names[:2] == ["loss", "compile_metrics"]
    assert sorted(names[2:]) == ["hard_loss", "soft_loss"]


def test_a_new_compile_has_its_own_metrics_only():
    model = build()
    assert sorted(models.fit(model, X, Y)) == LOGS
    top = keras.metrics.SparseTopKCategoricalAccuracy(2, name="top")
    model.compile("sgd", models.CROSSENTROPY, metrics=[top])
    logs = models.fit(model, X, Y, validation_data=(X, Y))
    assert "accuracy" not in logs
    assert {"top", "val_top"} < logs.keys()
    assert sorted(models.evaluate(model, X, Y)) == ["loss", "top"]


def test_evaluate_returns_a_list_in_the_order_of_the_metrics():
    def zero(y, z):
        return 0.0

    def one(y, z):
        return 1.0

    for metrics, expected in [([zero, one], [0, 1]), ([one, zero], [1, 0])]:
        model = build(metrics=metrics)
        assert model.evaluate(X, Y, verbose=0)[1:] == expected


def test_loss_weights_weigh_the_compiled_loss():
    model, doubled = build(), build(loss_weights=2.0)
    before, after = models.step(model, X, Y), models.step(doubled, X, Y)
    assert after["soft_loss"] == before["soft_loss"]
    difference = 0.3 * before["hard_loss"]
    whole = before["loss"] + difference
    assert after["loss"] == pytest.approx(whole, rel=1e-6)


@pytest.mark.parametrize(
    ("policy", "scale", "scaled"),
    [
        ("mixed_float16", True, True),
        ("mixed_float16", False, False),
        ("mixed_bfloat16", True, False),
    ],
)
def test_a_policy_of_float16_scales_the_loss_unless_told(policy, scale, scaled):
    student = models.with_policy(policy, models.sequential)
    model = build(student, auto_scale_loss=scale)
    optimizer = model.optimizer
    found = isinstance(optimizer, keras.optimizers.LossScaleOptimizer)
    assert found is scaled
    assert np.isfinite(models.fit(model, X, Y)["loss"]).all()


def test_small_gradients_in_float16_need_the_scale():
    """A teacher so close that the gradient underflows if it is not scaled."""
    changed = []
    for scale in (True, False):
        teacher, student = (
            models.with_policy("mixed_float16", models.linear) for _ in "ab"
        )
        teacher.set_weights([1.001 * w for w in student.get_weights()])
        model = kd.Distiller(
            teacher,
            student,
            kd.losses.SoftTargets(models.TEMPERATURE),
            hard_loss_weight=0,
            soft_loss_weight=1e-4,
        )
        sgd = keras.optimizers.SGD(1e6)
        model.compile(sgd, auto_scale_loss=scale)
        before = models.snapshot(student)
        models.fit(model, X)
        changed.append(models.changed(before, models.snapshot(student)))
    assert changed == [True, False]


# The loops.


def test_callbacks_see_the_logs_of_their_phase():
    model, record = build(), Record()
    models.fit(model, X, Y, validation_data=(X, Y), callbacks=[record])
    model.predict(X, verbose=0, callbacks=[record])
    validated = sorted([*LOGS, *(f"val_{name}" for name in EVALUATED)])
    assert record.of("on_train_batch_end")[0] == (0, LOGS)
    assert record.of("on_test_batch_end")[0] == (0, EVALUATED)
    assert record.of("on_predict_batch_end") == [(0, ["outputs"])]
    assert record.of("on_epoch_end") == [(0, validated)]
    assert record.of("on_train_end") == [(validated,)]
    assert record.of("on_test_end") == [(EVALUATED,)]
    begins = [c[-1] for c in record.calls if c[0].endswith("begin")]
    assert begins == [[]] * len(begins)


def batches(examples=20, size=4):
    for start in range(0, examples, size):
        yield X[start : start + size], Y[start : start + size]


@one_step_at_a_time
@pytest.mark.filterwarnings("ignore:Your input ran out of data")
@pytest.mark.parametrize("unknown", [False, True], ids=["arrays", "generator"])
def test_executions_of_several_steps_are_counted_in_batches(unknown):
    model, record = build(steps_per_execution=3), Record()
    data = (batches(),) if unknown else (X, Y)
    size = None if unknown else 4
    model.fit(
        *data, batch_size=size, shuffle=False, verbose=0, callbacks=[record]
    )
    # Of an unknown number of batches, Keras asks for more than there are.
    assert [i for i, _ in record.of("on_train_batch_begin")][:2] == [0, 3]
    assert [i for i, _ in record.of("on_train_batch_end")][0] == 2
    data = (batches(),) if unknown else (X, Y)
    model.evaluate(*data, batch_size=size, verbose=0, callbacks=[record])
    assert [i for i, _ in record.of("on_test_batch_begin")][:2] == [0, 3]
    assert int(model.optimizer.iterations) == 5


@one_step_at_a_time
@pytest.mark.filterwarnings("ignore:Your input ran out of data")
def test_predictions_keep_their_order_in_executions_of_several_steps():
    model = build(steps_per_execution=3)
    expected = models.logits(model.student, X)
    found = model.predict(X, batch_size=4, verbose=0)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)
    found = model.predict(((x,) for x, _ in batches()), verbose=0)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)


def forever(labelled=True):
    while True:
        for x, y in batches():
            yield (x, y) if labelled else (x,)


def test_endless_generators_are_read_for_as_many_steps_as_said():
    model, record = build(), Record()
    model.fit(
        forever(),
        validation_data=forever(),
        steps_per_epoch=3,
        validation_steps=4,
        epochs=2,
        shuffle=False,
        verbose=0,
        callbacks=[record],
    )
    assert len(record.of("on_train_batch_end")) == 2 * 3
    assert len(record.of("on_test_batch_end")) == 2 * 4


STOP = {
    "stop_training": ("fit", "on_train_batch_end"),
    "stop_evaluating": ("evaluate", "on_test_batch_end"),
    "stop_predicting": ("predict", "on_predict_batch_end"),
}


@pytest.mark.parametrize("flag", STOP)
def test_a_callback_stops_a_loop(flag):
    method, hook = STOP[flag]
    model, seen = build(), []

    def stop(batch, logs):
        seen.append(batch)
        setattr(model, flag, len(seen) == 5)

    callback = keras.callbacks.Callback()
    setattr(callback, hook, lambda batch, logs=None: stop(batch, logs))
    options = {"shuffle": False} if method == "fit" else {}
    getattr(model, method)(
        forever(method != "predict"),
        verbose=0,
        callbacks=[callback],
        **options,
    )
    assert seen == [0, 1, 2, 3, 4]


def test_epochs_may_be_capped_for_all_of_keras():
    model, record = build(), Record()
    keras.config.set_max_epochs(2)
    try:
        with pytest.warns(UserWarning, match="Limiting epochs to 2"):
            models.fit(model, X, Y, epochs=9, callbacks=[record])
    finally:
        keras.config.set_max_epochs(None)
    assert len(record.of("on_epoch_end")) == 2


def test_a_validation_split_is_the_end_of_the_data():
    model, other = build(), build()
    logs = models.fit(model, X, Y, validation_split=0.4)
    expected = models.fit(
        other, X[:12], Y[:12], validation_data=(X[12:], Y[12:])
    )
    assert logs == expected


def test_a_validation_that_fails_leaves_the_next_fit_as_it_would_be():
    model = build()
    with pytest.raises(ValueError):
        models.fit(model, X, Y, validation_data=(X[:, :2], Y))
    logs = models.fit(model, X, Y, validation_data=(X, Y))
    expected = models.evaluate(model, X, Y)["loss"]
    assert logs["val_loss"] == [pytest.approx(expected, rel=1e-6)]


@pytest.mark.parametrize("phase", ["training", "evaluation"])
def test_losses_do_not_depend_on_the_size_of_batches(phase):
    model = build(learning_rate=0.0)
    if phase == "training":
        found = [models.fit(model, X, Y, batch_size=n) for n in (3, 20)]
    else:
        found = [models.evaluate(model, X, Y, batch_size=n) for n in (3, 20)]
    for name in found[0]:
        assert found[0][name] == pytest.approx(found[1][name], rel=1e-5)


def test_methods_of_one_batch_return_lists_or_dicts():
    model = build()
    values = model.train_on_batch(X, Y)
    again = build().train_on_batch(X, Y, return_dict=True)
    assert sorted(again) == LOGS
    assert sorted(values) == models.near(sorted(again.values()))
    loss, accuracy = model.test_on_batch(X, Y)
    logs = model.test_on_batch(X, Y, return_dict=True)
    assert logs == {"loss": loss, "accuracy": accuracy}
    expected = models.logits(model.student, X)
    np.testing.assert_allclose(model.predict_on_batch(X), expected, atol=1e-6)


def test_evaluation_and_prediction_need_no_training_before():
    model = build(models.Subclassed())
    model.predict(X, verbose=0)
    assert sorted(models.evaluate(model, X, Y)) == EVALUATED


# What a step does with the student.


def test_constraints_are_applied():
    student = models.linear(kernel_constraint="non_neg")
    models.fit(build(student), X, Y)
    [kernel] = student.get_weights()
    assert kernel.min() >= 0


def test_a_loss_that_only_layers_add_is_an_objective_too():
    inputs = keras.Input((models.FEATURES,))
    outputs = models.MeanSquare()(layers.Dense(models.CLASSES)(inputs))
    model = build(keras.Model(inputs, outputs), loss=None, metrics=None)
    logs = models.fit(model, X, batch_size=20)
    added = np.mean(models.logits(model.student, X) ** 2)
    assert logs.keys() == {"loss", "soft_loss"}
    assert logs["loss"][0] > 0.7 * logs["soft_loss"][0] + added / 2


class NoisyWhenAsked(layers.Layer):
    """Random in prediction, too."""

    def __init__(self):
        super().__init__()
        self.seed_generator = keras.random.SeedGenerator(1)

    def call(self, x):
        return keras.random.dropout(x, 0.5, seed=self.seed_generator)


def test_random_state_moves_on_in_prediction_as_in_the_student():
    inputs = keras.Input((models.FEATURES,))
    outputs = NoisyWhenAsked()(layers.Dense(models.CLASSES)(inputs))
    model = build(keras.Model(inputs, outputs))
    first, second = (model.predict(X, verbose=0) for _ in range(2))
    assert not np.array_equal(first, second)


class Counting(models.Subclassed):
    def __init__(self):
        super().__init__()
        self.steps = self.add_weight((), "zeros", trainable=False)


class CountBatches(keras.callbacks.Callback):
    """On JAX, `self.model` fills the variables."""

    def on_train_batch_end(self, batch, logs=None):
        self.model.student.steps.assign_add(1)


@pytest.mark.parametrize("run_eagerly", [True, False])
def test_a_callback_changes_variables_of_the_student_between_batches(
    run_eagerly,
):
    student = Counting()
    model = build(student, run_eagerly=run_eagerly)
    models.fit(model, X, Y, batch_size=4, epochs=3, callbacks=[CountBatches()])
    assert float(student.steps) == 3 * 5


class Watching(kd.Distiller):
    """Has a metric of its own, of what `compute_loss` finds."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.watched = keras.metrics.Mean(name="watched")
        self.phases = set()

    def compute_loss(self, x, y, y_pred, sample_weight=None, training=True):
        self.phases.add(training)
        args = x, y, y_pred, sample_weight
        loss = super().compute_loss(*args, training=training)
        self.watched.update_state(4 * loss + sum(self.losses))
        return loss


def test_a_subclass_may_have_metrics_of_its_own():
    loss = kd.losses.SoftTargets(models.TEMPERATURE)
    model = Watching(models.linear(seed=2), models.penalised(), loss)
    model.compile("sgd", models.CROSSENTROPY)
    logs = models.fit(model, X, Y, batch_size=20)
    assert logs["watched"][0] > 4 * logs["loss"][0]
    logs = models.evaluate(model, X, Y, batch_size=20)
    assert logs["watched"] > 4 * logs["loss"]
    assert model.phases == {True, False}


# What keras.distillation promises.


def test_the_call_gives_what_the_student_gives():
    model = build()
    found, expected = (models.logits(m, X) for m in (model, model.student))
    np.testing.assert_array_equal(found, expected)
    assert found.shape == (20, models.CLASSES)


@pytest.mark.parametrize("name", ["teacher", "student"])
def test_what_is_no_model_is_refused(name):
    pair = {"teacher": models.linear(), "student": models.linear(seed=2)}
    with pytest.raises(TypeError, match=f"`{name}` must be a keras.Model"):
        kd.Distiller(
            **{**pair, name: "no model"},
            distillation_loss=kd.losses.SoftTargets(2.0),
        )


def test_the_student_learns_what_the_teacher_knows():
    """From the teacher's answers alone, on inputs that it never saw."""
    rng = np.random.default_rng(0)
    x, unseen = rng.normal(size=(2, 256, models.FEATURES)).astype("float32")
    teacher, student = models.sequential(seed=2), models.sequential(units=16)
    loss = kd.losses.SoftTargets(models.TEMPERATURE)
    model = kd.Distiller(teacher, student, loss)
    model.compile(keras.optimizers.Adam(0.02))
    before = agreement(model, unseen)
    [first] = models.fit(model, x, batch_size=32)["soft_loss"]
    models.fit(model, np.tile(x, (38, 1)), batch_size=32)
    [last] = models.fit(model, x, batch_size=32)["soft_loss"]
    assert last < 0.1 * first
    assert agreement(model, unseen) > max(before, 0.9)


def agreement(model, x):
    pair = [models.logits(m, x) for m in (model.teacher, model.student)]
    answers = [logits.argmax(axis=-1) for logits in pair]
    return np.mean(answers[0] == answers[1])
