"""Numbers that follow a schedule: in a step, in the logs, and in files."""

import json
import math

import keras
import models
import numpy as np
import pytest
from keras.optimizers import schedules

import keras_distill as kd

BACKEND = keras.backend.backend()
X, Y = models.data(8)
MOMENTS = [
    "on_epoch_begin",
    "on_train_batch_begin",
    "on_train_batch_end",
    "on_epoch_end",
]
# What Keras and the compiler of torch say of Keras's own steps.
pytestmark = pytest.mark.filterwarnings(
    "ignore:.torch.jit.script_method. is deprecated",
    "ignore:The .grad attribute of a Tensor that is not a leaf",
)


def three(values, updates=1):
    """A schedule of three values, each for a number of updates."""
    ends = [updates - 1, 2 * updates - 1]
    return schedules.PiecewiseConstantDecay(ends, list(values))


def made(temperature=2.0, hard=0.3, soft=0.7, optimizer=None, **kwargs):
    """A Distiller that stays as it is, unless an optimizer is given."""
    loss = kd.losses.SoftTargets(temperature)
    model = kd.Distiller(
        models.linear(seed=2),
        models.linear(),
        loss,
        hard_loss_weight=hard,
        soft_loss_weight=soft,
    )
    optimizer = optimizer or keras.optimizers.SGD(0.0)
    options = {"loss": models.CROSSENTROPY, "run_eagerly": False, **kwargs}
    model.compile(optimizer, **options)
    return model


def of_fresh(**kwargs):
    """The losses of a step of a Distiller with numbers, and its number."""
    return models.step(made(**kwargs), X, Y)


def has(logs, expected):
    """The logs show the same, beside what is scheduled."""
    found = {name: logs[name] for name in expected}
    assert found == pytest.approx(expected, rel=1e-5)


# In a step.

PLAN = {
    "temperature": [8.0, 4.0, 1.0],
    "hard": [0.1, 0.5, 0.9],
    "soft": [0.9, 0.5, 0.1],
}
not_on_torch = pytest.mark.skipif(
    BACKEND == "torch",
    reason="on torch Keras refuses several steps per execution",
)
STEPS = [
    {"run_eagerly": True},
    {"jit_compile": True},
    {"jit_compile": False},
    pytest.param({"steps_per_execution": 2}, marks=not_on_torch),
]


@pytest.mark.parametrize("options", STEPS, ids=str)
@pytest.mark.parametrize(
    "accumulated", [None, pytest.param(2, marks=pytest.mark.once)]
)
def test_epochs_give_what_three_fresh_distillers_give(accumulated, options):
    gives_what_fresh_ones_give(PLAN, accumulated, **options)


@pytest.mark.parametrize("name", PLAN)
def test_each_number_may_be_scheduled_alone(name):
    gives_what_fresh_ones_give([name], run_eagerly=True)


def gives_what_fresh_ones_give(names, accumulated=None, **options):
    optimizer = keras.optimizers.SGD(
        0.0, gradient_accumulation_steps=accumulated
    )
    scheduled = {name: three(PLAN[name], updates=2) for name in names}
    model = made(optimizer=optimizer, **scheduled, **options)
    # Two updates in an epoch.
    repeated = (2 * (accumulated or 1),)
    x, y = np.tile(X, (*repeated, 1)), np.tile(Y, repeated)
    history = models.fit(model, x, y, epochs=3)
    for n in range(3):
        logs = {name: values[n] for name, values in history.items()}
        has(logs, of_fresh(**{name: PLAN[name][n] for name in names}))


def optimizers():
    sgd = keras.optimizers.SGD
    return {
        "plain": sgd(0.1),
        "accumulating": sgd(0.1, gradient_accumulation_steps=2),
        "averaged": sgd(0.1, use_ema=True, ema_overwrite_frequency=2),
        "scaled": keras.optimizers.LossScaleOptimizer(sgd(0.1)),
        "scaled, accumulating": keras.optimizers.LossScaleOptimizer(
            sgd(0.1, gradient_accumulation_steps=2)
        ),
    }


@pytest.mark.parametrize(
    "run_eagerly", [False, pytest.param(True, marks=pytest.mark.once)]
)
@pytest.mark.parametrize("kind", optimizers())
def test_a_schedule_does_what_writing_its_values_would(kind, run_eagerly):
    temperature = schedules.CosineDecay(8.0, 4)
    soft = schedules.PolynomialDecay(0.2, 4, end_learning_rate=0.9)
    kwargs = {"optimizer": optimizers()[kind], "run_eagerly": run_eagerly}
    scheduled = made(temperature, soft=soft, **kwargs)
    written = made(**kwargs | {"optimizer": optimizers()[kind]})
    start = models.snapshot(scheduled.student)
    for _ in range(5):
        updates = int(written.optimizer.iterations)
        value = max(float(temperature(updates)), 1e-3)
        written.distillation_loss.temperature = value
        written.soft_loss_weight = float(soft(updates))
        has(models.step(scheduled, X, Y), models.step(written, X, Y))
    pair = [models.snapshot(m.student) for m in (scheduled, written)]
    assert models.changed(start, pair[0])
    models.assert_same(*pair, atol=1e-6)


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("run_eagerly", [True, False])
def test_a_schedule_set_at_any_moment_is_in_force_at_the_next_step(
    moment, run_eagerly
):
    model = made(run_eagerly=run_eagerly)
    seen = []

    def change(n, logs=None):
        if int(n) + moment.endswith("end") == 1:
            model.distillation_loss.temperature = three([3.0, 5.0, 7.0])
            model.hard_loss_weight = three([1.0, 2.0, 3.0])

    note = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda n, logs: seen.append(dict(logs))
    )
    callbacks = [note, keras.callbacks.LambdaCallback(**{moment: change})]
    # Of one step each where epochs are waited for.
    several = moment.startswith("on_train")
    x, y = (np.tile(X, (2, 1)), np.tile(Y, 2)) if several else (X, Y)
    models.fit(model, x, y, epochs=1 if several else 2, callbacks=callbacks)
    losses = [of_fresh()["loss"], of_fresh(temperature=5.0, hard=2.0)["loss"]]
    expected = [np.mean(losses)] if several else losses
    assert [float(logs["loss"]) for logs in seen] == models.near(expected)


def test_two_distillers_obey_the_schedule_of_the_loss_that_they_share():
    pair = [made(), made()]
    pair[1].distillation_loss = pair[0].distillation_loss
    for model in pair:
        models.step(model, X, Y)
    pair[0].distillation_loss.temperature = three([8.0, 4.0, 1.0])
    for model in pair:
        has(models.step(model, X, Y), of_fresh(temperature=4.0))
    pair[1].distillation_loss.temperature = three([8.0, 4.0, 3.0])
    for model in pair:
        has(models.step(model, X, Y), of_fresh(temperature=3.0))


class Scaled(keras.losses.Loss):
    """A loss of a user, which says what of it is a number."""

    numbers = ("factor",)

    def __init__(self, factor):
        super().__init__()
        self.factor = factor

    def call(self, teacher_logits, student_logits):
        difference = keras.ops.square(teacher_logits - student_logits)
        return self.factor * keras.ops.sum(difference, axis=-1)


def test_a_number_of_a_loss_of_ones_own_may_be_scheduled():
    model = made()
    model.distillation_loss = Scaled(three([1.0, 3.0, -2.0]))
    first, *others = (models.step(model, X, Y) for _ in range(3))
    for logs, factor in zip(others, [3.0, -2.0], strict=True):
        expected = factor * first["soft_loss"]
        assert logs["soft_loss"] == pytest.approx(expected, rel=1e-5)
    assert others[0]["factor"] == -2.0


class Weighted(keras.losses.MeanSquaredError):
    numbers = ("own_weight",)

    def __init__(self, own_weight):
        super().__init__()
        self.own_weight = own_weight

    def call(self, teacher_logits, student_logits):
        return self.own_weight * super().call(teacher_logits, student_logits)


class Halved(schedules.LearningRateSchedule):
    """A schedule of a user, which is no tensor and cannot be saved."""

    def __call__(self, step):
        return 8 / 2 ** keras.ops.cast(step, "float32")


def test_a_schedule_of_ones_own():
    model = made(Halved())
    for temperature in (8.0, 4.0, 2.0):
        has(models.step(model, X, Y), of_fresh(temperature=temperature))


# Where a schedule ends.


@pytest.mark.parametrize("run_eagerly", [True, False])
def test_a_scheduled_temperature_stays_above_zero(run_eagerly):
    model = made(schedules.CosineDecay(8.0, 2), run_eagerly=run_eagerly)
    for _ in range(2):
        logs = models.step(model, X, Y)
    assert logs["temperature"] == pytest.approx(1e-3)
    logs = models.step(model, X, Y)
    assert math.isfinite(logs["loss"])
    has(logs, of_fresh(temperature=1e-3))


def test_a_scheduled_weight_stays_at_zero():
    falling = schedules.PolynomialDecay(1.0, 2, end_learning_rate=-1.0)
    model = made(soft=falling)
    for _ in range(3):
        logs = models.step(model, X, Y)
    assert logs["soft_loss_weight"] == 0.0
    assert logs["loss"] == pytest.approx(0.3 * logs["hard_loss"], rel=1e-5)


def test_a_scheduled_weight_within_a_loss_stays_at_zero():
    falling = schedules.PolynomialDecay(1.0, 2, end_learning_rate=-1.0)
    model = made()
    model.distillation_loss = Weighted(falling)
    found = [models.step(model, X, Y)["soft_loss"] for _ in range(3)]
    assert found[1:] == [0.0, 0.0]
    assert found[0] > 0


def test_a_term_that_is_scheduled_is_computed_where_its_weight_is_zero():
    rising = schedules.PolynomialDecay(0.0, 2, end_learning_rate=1.0)
    model = made(hard=0.0, soft=rising)
    for weight in (0.0, 0.5, 1.0):
        logs = models.step(model, X, Y)
        assert logs["soft_loss"] > 0
        expected = weight * logs["soft_loss"]
        assert logs["loss"] == pytest.approx(expected, rel=1e-5)


# What is refused.

ZERO = schedules.PolynomialDecay(0.0, 2, end_learning_rate=1.0)
NEGATIVE = schedules.PolynomialDecay(-1.0, 2, end_learning_rate=1.0)


class Pairs(schedules.LearningRateSchedule):
    def __call__(self, step):
        return keras.ops.ones((2,))


@pytest.mark.parametrize(
    "schedule, error, message",
    [
        (ZERO, ValueError, "must be greater than 0. Received: temperature=0.0"),
        (Pairs(), TypeError, "must be a real number"),
    ],
)
def test_a_schedule_of_temperatures_is_checked_at_step_0(
    schedule, error, message
):
    loss = kd.losses.SoftTargets(2.0)
    with pytest.raises(error, match=f"{message}.*the value at step 0 of"):
        loss.temperature = schedule
    with pytest.raises(error, match=message):
        kd.losses.SoftTargets(schedule)
    assert loss.temperature == 2.0


def test_a_function_is_no_schedule():
    model = made()
    message = "must be one of keras.optimizers.schedules. Received: function.*"
    with pytest.raises(TypeError, match=message + "LearningRateSchedule, or"):
        model.distillation_loss.temperature = lambda step: 1.0
    with pytest.raises(TypeError, match=message):
        model.soft_loss_weight = lambda step: 1.0


@pytest.mark.parametrize("name", ["hard_loss_weight", "soft_loss_weight"])
def test_a_schedule_of_weights_is_checked_at_step_0(name):
    model = made()
    before = getattr(model, name)
    with pytest.raises(ValueError, match=f"`{name}` must not be.*at step 0"):
        setattr(model, name, NEGATIVE)
    assert getattr(model, name) == before


def test_a_scheduled_loss_has_no_value_outside_of_a_distiller():
    schedule = schedules.CosineDecay(8.0, 10)
    pair = np.ones((2, 3)), np.ones((2, 3))
    message = "only in the steps of a kd.Distiller.*set its temperature"
    with pytest.raises(TypeError, match=message):
        kd.losses.WTTM(schedule)(*pair)
    with pytest.raises(TypeError, match=r"such as schedule\(step\)"):
        kd.losses.soft_targets(*pair, schedule)
    message = "scheduled `target_weight` has.*set its target_weight to"
    with pytest.raises(TypeError, match=message):
        kd.losses.DKD(schedule)((pair[0], np.zeros(2, int)), pair[1])
    value = kd.losses.soft_targets(*pair, schedule(0))
    np.testing.assert_allclose(value, 0, atol=1e-6)


def test_a_weight_that_depends_on_a_scheduled_temperature_is_asked_for():
    models_of = models.linear(seed=2), models.linear()
    loss = kd.losses.TTM(schedules.CosineDecay(8.0, 10))
    with pytest.raises(ValueError, match="is scheduled.*Pass soft_loss_weight"):
        kd.Distiller(*models_of, loss)
    given = kd.Distiller(*models_of, loss, soft_loss_weight=2.0)
    assert (given.hard_loss_weight, given.soft_loss_weight) == (1.0, 2.0)


# In the logs.


@pytest.mark.parametrize("run_eagerly", [True, False])
def test_logs_show_what_is_scheduled_at_the_end_of_an_epoch(run_eagerly):
    temperature = schedules.PolynomialDecay(9.0, 8, end_learning_rate=1.0)
    model = made(temperature, run_eagerly=run_eagerly)
    model.hard_loss_weight = three([0.5, 0.25, 0.125], updates=2)
    data = {"validation_data": (X, Y), "batch_size": 4}
    logs = models.fit(model, X, Y, epochs=3, **data)
    assert logs["temperature"] == pytest.approx([7.0, 5.0, 3.0])
    assert logs["hard_loss_weight"] == [0.25, 0.125, 0.125]
    names = ["hard_loss", "hard_loss_weight", "loss", "soft_loss"]
    assert sorted(logs) == [*names, "temperature", "val_loss"]
    assert models.step(model, X, Y)["temperature"] == pytest.approx(2.0)
    assert list(models.evaluate(model, X, Y)) == ["loss"]


def test_logs_show_numbers_that_are_set_as_long_as_they_are_scheduled():
    model = made()
    assert "temperature" not in models.step(model, X, Y)
    model.distillation_loss.temperature = three([1.0, 2.0, 3.0])
    assert models.step(model, X, Y)["temperature"] == 3.0
    model.distillation_loss.temperature = 4.0
    assert "temperature" not in models.step(model, X, Y)


def heads(seed):
    keras.utils.set_random_seed(seed)
    inputs = keras.Input((models.FEATURES,))
    dense = {name: keras.layers.Dense(3, name=name) for name in "ab"}
    return keras.Model(inputs, {n: layer(inputs) for n, layer in dense.items()})


def of_two_heads(losses, soft):
    model = kd.Distiller(
        heads(1), heads(2), losses, hard_loss_weight=0, soft_loss_weight=soft
    )
    model.compile(keras.optimizers.SGD(0.0), loss=None)
    logs = models.step(model, X)
    return {k: v for k, v in logs.items() if not k.endswith("loss")}


def test_numbers_of_several_outputs_are_told_apart_where_they_differ():
    soft = kd.losses.SoftTargets
    falling, rising = three([3.0, 2.0, 1.0]), three([1.0, 5.0, 9.0])
    one = of_two_heads({"a": soft(falling), "b": soft(4.0)}, 1.0)
    assert one == {"a_temperature": 2.0}
    same = of_two_heads({"a": soft(falling), "b": soft(falling)}, 1.0)
    assert same == {"temperature": 2.0}
    two = of_two_heads(
        {"a": soft(falling), "b": soft(rising)}, {"a": 1.0, "b": rising}
    )
    assert two == {
        "a_temperature": 2.0,
        "b_temperature": 5.0,
        "b_soft_loss_weight": 5.0,
    }


# In configs and files.


def through_json(config):
    return json.loads(json.dumps(config))


def numbered():
    public = [getattr(kd.losses, name) for name in kd.losses.__all__]
    own = {loss: getattr(loss, "numbers", ()) for loss in public}
    # Those of a loss made of others depend on these.
    fixed = {k: names for k, names in own.items() if isinstance(names, tuple)}
    return [(loss, name) for loss in fixed for name in fixed[loss]]


@pytest.mark.parametrize("make, name", numbered())
def test_the_config_of_a_loss_holds_the_schedule(make, name):
    schedule = schedules.CosineDecay(0.5, 10)
    config = keras.losses.serialize(
        make(**dict.fromkeys(make.numbers, 0.5) | {name: schedule})
    )
    copy = keras.losses.deserialize(through_json(config))
    found = getattr(copy, name)
    assert isinstance(found, schedules.CosineDecay)
    assert found.get_config() == schedule.get_config()
    others = [other for other in make.numbers if other != name]
    assert [getattr(copy, other) for other in others] == [0.5] * len(others)


def scheduled():
    return made(
        schedules.CosineDecay(8.0, 4),
        three([0.5, 1.0, 2.0]),
        schedules.PolynomialDecay(0.2, 4, end_learning_rate=0.9),
        keras.optimizers.SGD(0.1, momentum=0.9),
    )


def test_the_config_of_a_distiller_holds_its_schedules():
    config = scheduled().get_config()
    copy = kd.Distiller.from_config(through_json(config))
    names = ["distillation_loss", "hard_loss_weight", "soft_loss_weight"]
    written = copy.get_config()
    assert {n: written[n] for n in names} == {n: config[n] for n in names}
    assert isinstance(copy.hard_loss_weight, schedules.PiecewiseConstantDecay)
    assert isinstance(copy.soft_loss_weight, schedules.PolynomialDecay)


def test_a_loaded_distiller_goes_on_in_its_schedules(tmp_path):
    model = scheduled()
    for _ in range(2):
        models.step(model, X, Y)
    model.save(tmp_path / "distiller.keras")
    loaded = keras.models.load_model(tmp_path / "distiller.keras")
    loaded.teacher = model.teacher
    for _ in range(2):
        logs = models.step(loaded, X, Y)
        assert "temperature" in logs
        assert logs == pytest.approx(models.step(model, X, Y), rel=1e-5)


def test_a_new_compile_begins_a_schedule_anew():
    model = made(three([8.0, 4.0, 1.0]))
    first, second = (models.step(model, X, Y) for _ in range(2))
    assert first != second
    model.compile(keras.optimizers.SGD(0.0), loss=models.CROSSENTROPY)
    assert models.step(model, X, Y) == pytest.approx(first, rel=1e-5)
