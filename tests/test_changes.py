"""What may be changed while a Distiller trains, and when it is in force."""

import functools

import keras
import models
import numpy as np
import pytest

import keras_distill as kd

pytestmark = pytest.mark.internals

BACKEND = keras.backend.backend()
X, Y = models.data(8)
MOMENTS = [
    "on_epoch_begin",
    "on_train_batch_begin",
    "on_train_batch_end",
    "on_epoch_end",
]
PLAN = [(8.0, 0.9), (4.0, 0.5), (1.0, 0.1)]
if BACKEND != "jax":  # There the values of a model lie elsewhere in a fit.
    MOMENTS = MOMENTS[:3:2]
each_kind_of_step = pytest.mark.parametrize("run_eagerly", [True, False])
each_moment = pytest.mark.parametrize("moment", MOMENTS)
compiled_only = pytest.mark.skipif(
    BACKEND == "torch", reason="on torch a step is not traced"
)


def made(temperature=2.0, hard=0.3, soft=0.7, teacher=None, **kwargs):
    """A Distiller that stays as it is, so that its logs tell its numbers."""
    options = {"learning_rate": 0.0, "run_eagerly": False, **kwargs}
    teacher = teacher or models.linear(seed=2)
    model = models.distiller(teacher, models.linear(), hard, soft, **options)
    model.distillation_loss.temperature = temperature
    return model


@functools.cache
def of_fresh(**kwargs):
    return models.step(made(**kwargs), X, Y)


def same(logs, expected):
    assert logs == {k: pytest.approx(v, rel=1e-5) for k, v in expected.items()}


def at(moment, change):
    """A callback that calls `change` with the number of the next step."""
    ended = moment.endswith("end")
    call = {moment: lambda n, logs=None: change(n + 1 if ended else n)}
    return keras.callbacks.LambdaCallback(**call)


def changed_in_a_fit(model, change, moment="on_epoch_begin", epochs=2):
    """The logs of each epoch; all but the first come after a change."""
    if moment.startswith("on_train"):
        return changed_within_an_epoch(model, change, moment, epochs)
    seen = []
    note = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda n, logs: seen.append(dict(logs))
    )
    callbacks = [note, at(moment, change)]
    models.fit(model, X, Y, epochs=epochs, callbacks=callbacks)
    return seen


def changed_within_an_epoch(model, change, moment, steps):
    """The same, of the steps of one epoch: Keras logs the mean so far."""
    means = []
    note = keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda n, logs: means.append(dict(logs))
    )
    x, y = np.tile(X, (steps, 1)), np.tile(Y, steps)
    models.fit(model, x, y, callbacks=[note, at(moment, change)])
    for n in reversed(range(1, steps)):
        for k in means[n].keys() & means[n - 1].keys():
            before = float(means[n - 1][k]) * n
            means[n][k] = float(means[n][k]) * (n + 1) - before
    return means


# Numbers.


@each_moment
@each_kind_of_step
def test_numbers_of_each_step_give_what_fresh_distillers_give(
    moment, run_eagerly
):
    model = made(*first_of(PLAN), run_eagerly=run_eagerly)

    def change(step):
        if step < len(PLAN):
            temperature, soft = PLAN[step]
            model.distillation_loss.temperature = temperature
            model.hard_loss_weight = 1 - soft
            model.soft_loss_weight = soft

    found = changed_in_a_fit(model, change, moment, len(PLAN))
    for logs, (temperature, soft) in zip(found, PLAN, strict=True):
        same(logs, of_fresh(temperature=temperature, hard=1 - soft, soft=soft))


def first_of(plan):
    temperature, soft = plan[0]
    return temperature, 1 - soft, soft


@each_kind_of_step
def test_numbers_set_between_two_fits_are_in_force(run_eagerly):
    model = made(run_eagerly=run_eagerly)
    for temperature, soft in PLAN:
        model.distillation_loss.temperature = temperature
        model.soft_loss_weight = soft
        expected = of_fresh(temperature=temperature, soft=soft)
        same(models.step(model, X, Y), expected)
        logs = models.fit(model, X, Y)
        same({k: v for k, [v] in logs.items()}, expected)


# What the compiler of torch says of torch, and of Keras's own steps.
@pytest.mark.filterwarnings(
    "ignore:.torch.jit.script_method. is deprecated",
    "ignore:The .grad attribute of a Tensor that is not a leaf",
)
@pytest.mark.parametrize(
    "options",
    [
        {"jit_compile": True},
        {"jit_compile": False},
        pytest.param(
            {"steps_per_execution": 2},
            marks=pytest.mark.skipif(
                BACKEND == "torch",
                reason="on torch Keras refuses several steps per execution",
            ),
        ),
    ],
    ids=str,
)
def test_numbers_are_read_in_steps_of_every_kind(options):
    model = made(**options)

    def change(step):
        model.distillation_loss.temperature = 2.0 + step

    callbacks = [at("on_epoch_begin", change)]
    logs = models.fit(model, X, Y, 2, epochs=3, callbacks=callbacks)
    for n in range(3):
        of_epoch = {name: values[n] for name, values in logs.items()}
        same(of_epoch, of_fresh(temperature=2.0 + n))


def test_a_step_follows_the_gradient_of_the_numbers_as_they_are():
    model, fresh = made(learning_rate=0.1), made(5.0, 0.2, 3.0)
    fresh.optimizer.learning_rate = 0.1
    start = models.snapshot(model.student)
    models.step(model, X, Y)
    model.student.set_weights(start)
    model.distillation_loss.temperature = 5.0
    model.hard_loss_weight, model.soft_loss_weight = 0.2, 3.0
    for each in (model, fresh):
        models.step(each, X, Y)
    pair = [models.snapshot(m.student) for m in (model, fresh)]
    assert models.changed(start, pair[0])
    models.assert_same(*pair, atol=1e-6)


def test_two_distillers_obey_the_loss_that_they_share():
    pair = [made(), made()]
    pair[1].distillation_loss = pair[0].distillation_loss
    for temperature in (3.0, 5.0):
        pair[0].distillation_loss.temperature = temperature
        for model in pair:
            expected = of_fresh(temperature=temperature)
            same(models.step(model, X, Y), expected)


class Scaled(keras.losses.Loss):
    """A loss of a user, which says what of it is a number."""

    numbers = ("factor",)

    def __init__(self, factor):
        super().__init__()
        self.factor = factor

    def call(self, teacher_logits, student_logits):
        difference = keras.ops.square(teacher_logits - student_logits)
        return self.factor * keras.ops.sum(difference, axis=-1)


def test_a_loss_of_ones_own_says_what_its_numbers_are():
    model = made()
    model.distillation_loss = Scaled(1.0)
    logs = models.step(model, X, Y)
    model.distillation_loss.factor = 3.0
    tripled = models.step(model, X, Y)["soft_loss"]
    assert tripled == pytest.approx(3 * logs["soft_loss"], rel=1e-5)
    assert model.distillation_loss.factor == 3.0


def test_a_step_leaves_the_numbers_what_they_were():
    model = made(soft=0.5)
    models.fit(model, X, Y)
    assert model.soft_loss_weight == 0.5
    assert model.distillation_loss.temperature == 2.0
    assert isinstance(model.distillation_loss.temperature, float)


def test_numbers_are_in_the_config_and_no_variables():
    model = made()
    variables = len(model.variables)
    models.fit(model, X, Y)
    model.distillation_loss.temperature = 6
    model.hard_loss_weight, model.soft_loss_weight = 1, 2
    config = model.get_config()
    loss = config["distillation_loss"]["config"]
    assert loss["temperature"] == 6.0
    assert (config["hard_loss_weight"], config["soft_loss_weight"]) == (1, 2)
    assert len(model.variables) == variables
    same(models.step(kd_from(config, model), X, Y), models.step(model, X, Y))


def kd_from(config, model):
    copy = kd.Distiller.from_config(config)
    copy.student.set_weights(model.student.get_weights())
    copy.teacher = model.teacher
    copy.compile(keras.optimizers.SGD(0.0), loss=models.CROSSENTROPY)
    return copy


REFUSED = {
    "hard_loss_weight": (-1, ValueError, "`hard_loss_weight` must not be neg"),
    "soft_loss_weight": ("1", TypeError, "`soft_loss_weight` must be a real"),
    "distillation_loss": ("mse", TypeError, "keras.losses.MeanSquaredError()"),
    "teacher": ("linear", TypeError, "`teacher` must be a keras.Model"),
    "student": (models.linear(), AttributeError, "new kd.Distiller"),
}


def test_a_number_of_a_loss_is_not_set_on_the_distiller():
    model = made()
    assert not hasattr(model, "temperature")
    with pytest.raises(AttributeError, match="distillation_loss.temperature"):
        model.temperature = 3.0
    assert not hasattr(model, "temperature")
    model.target_weight = 3.0  # No number of this loss.
    model.distillation_loss = kd.losses.DKD()
    with pytest.raises(
        AttributeError, match="DKD. Received: distiller.target_w"
    ):
        model.target_weight = 2.0


def test_a_subclass_may_have_an_attribute_of_that_name():
    class Named(kd.Distiller):
        temperature = None

    model = Named(models.linear(2), models.linear(), kd.losses.TTM(2.0))
    model.temperature = 3.0
    assert model.temperature == 3.0


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused_changes_nothing(name):
    value, error, message = REFUSED[name]
    model = made()
    before, logs = getattr(model, name), models.step(model, X, Y)
    with pytest.raises(error, match=message):
        setattr(model, name, value)
    assert getattr(model, name) is before
    same(models.step(model, X, Y), logs)


def test_both_weights_of_zero_are_refused():
    model = made()
    model.soft_loss_weight = 0
    with pytest.raises(ValueError, match="must not both be 0"):
        model.hard_loss_weight = 0
    assert model.hard_loss_weight == 0.3


# Weights that nobody gave.

DEFAULTS = [
    (kd.losses.SoftTargets(4.0), (0.1, 0.9)),
    (kd.losses.LogitMatching(), (0.1, 0.9)),
    (kd.losses.TTM(10.0), (1.0, 60.0)),
    (kd.losses.WTTM(10.0), (1.0, 2.0)),
    (keras.losses.MeanSquaredError(), (1.0, 1.0)),
]


def weights_of(model):
    return model.hard_loss_weight, model.soft_loss_weight


@pytest.mark.parametrize("loss, weights", DEFAULTS)
def test_a_loss_declares_the_weights_that_it_has_by_default(loss, weights):
    pair = models.linear(seed=2), models.linear()
    assert weights_of(kd.Distiller(*pair, loss)) == pytest.approx(weights)
    given = kd.Distiller(*pair, loss, hard_loss_weight=0.5)
    assert weights_of(given) == pytest.approx((0.5, weights[1]))


@pytest.mark.parametrize("name", ["hard_loss_weight", "soft_loss_weight"])
def test_weights_of_a_new_distiller_are_checked(name):
    with pytest.raises(ValueError, match=f"`{name}` must not be negative"):
        kd.Distiller(None, models.linear(), kd.losses.TTM(2.0), **{name: -1})


def test_default_weights_are_resolved_once():
    loss = kd.losses.TTM(2.0)
    model = kd.Distiller(models.linear(seed=2), models.linear(), loss)
    before = weights_of(model)
    loss.temperature = 5.0
    assert weights_of(kd.Distiller.from_config(model.get_config())) == before
    model.distillation_loss = kd.losses.SoftTargets(4.0)
    assert weights_of(model) == before


def test_weights_cannot_be_set_to_none():
    model = made()
    with pytest.raises(TypeError, match="`hard_loss_weight` must be a real"):
        model.hard_loss_weight = None
    with pytest.raises(TypeError, match="compile.loss_weights=.... to weigh"):
        model.hard_loss_weight = {"output": 1.0}
    assert weights_of(model) == (0.3, 0.7)


# Terms, losses and teachers.


@each_moment
@each_kind_of_step
@pytest.mark.parametrize("name", ["hard_loss_weight", "soft_loss_weight"])
def test_a_term_is_switched_off_and_on_at_any_moment(name, moment, run_eagerly):
    model = made(run_eagerly=run_eagerly)
    short = name.split("_")[0]

    def change(step):
        if step:
            setattr(model, name, [0.0, 0.4][step % 2 == 0])

    found = changed_in_a_fit(model, change, moment, 3)
    for logs, weight in zip(found, [None, 0.0, 0.4], strict=True):
        options = {} if weight is None else {short: weight}
        # Keras logs what an epoch had, also of a term that is off.
        expected = of_fresh(**options)["loss"]
        assert float(logs["loss"]) == pytest.approx(expected, rel=1e-5)


@each_moment
@each_kind_of_step
def test_a_loss_is_replaced_at_any_moment(moment, run_eagerly):
    model, other = made(run_eagerly=run_eagerly), made()
    other.distillation_loss = kd.losses.TTM(2.0)

    def change(step):
        if step == 1:
            model.distillation_loss = other.distillation_loss

    before, after = changed_in_a_fit(model, change, moment)
    same(before, of_fresh())
    same(after, models.step(other, X, Y))


@each_moment
@each_kind_of_step
def test_a_teacher_is_replaced_at_any_moment(moment, run_eagerly):
    model, teacher = made(run_eagerly=run_eagerly), models.functional(seed=4)

    def change(step):
        if step == 1:
            model.teacher = teacher

    before, after = changed_in_a_fit(model, change, moment)
    same(before, of_fresh())
    same(after, of_fresh(teacher=teacher))


@pytest.mark.skipif(BACKEND != "jax", reason="elsewhere a step builds it")
@each_kind_of_step
def test_a_teacher_that_is_not_built_is_refused_while_fit_runs(run_eagerly):
    model, teacher = made(run_eagerly=run_eagerly), models.unbuilt(seed=4)

    def change(step):
        model.teacher = teacher

    with pytest.raises(ValueError, match="must be built.*Call it once"):
        changed_in_a_fit(model, change)
    same(models.step(model, X, Y), of_fresh(teacher=teacher))


@pytest.mark.filterwarnings("ignore:Layer InputLayer does not have a")
@each_kind_of_step
def test_a_teacher_quantised_between_two_fits_is_used_as_it_is(run_eagerly):
    teacher = models.linear(seed=2)
    model = made(teacher=teacher, run_eagerly=run_eagerly)
    before = models.step(model, X, Y)
    teacher.quantize("int8")
    after = models.step(model, X, Y)
    assert after["soft_loss"] != before["soft_loss"]
    same(after, of_fresh(teacher=teacher))


# Traces.


def traces(change, run):
    """How often a step is traced while `change` is called between steps.

    On JAX, the first batch of a fit is looked at in inference mode besides.
    """
    student = models.Recorder(models.linear())
    model = models.distiller(models.linear(seed=2), student, run_eagerly=False)
    run(model, lambda n: None)
    student.calls.clear()
    run(model, lambda n: change(model, n))
    return student.calls.count(True)


def in_a_fit(model, change):
    changed_within_an_epoch(model, change, "on_train_batch_begin", 6)


def in_epochs(model, change):
    changed_in_a_fit(model, change, "on_epoch_end", 3)


def between_fits(model, change):
    for n in range(4):
        change(n)
        models.fit(model, X, Y)


def write_numbers(model, n):
    model.distillation_loss.temperature = 1.5 + n
    model.hard_loss_weight = 0.1 + n
    model.soft_loss_weight = 2.0 + n


def switch_off(model, n):
    if n == 2:
        model.soft_loss_weight = 0.0


def replace_the_loss(model, n):
    if n == 2:
        model.distillation_loss = kd.losses.TTM(3.0)


def replace_the_teacher(model, n):
    if n == 2:
        model.earlier = [model.train_function]  # Held by someone.
        model.teacher = models.functional(seed=4)


def decay(start):
    return keras.optimizers.schedules.CosineDecay(start, 10)


def begin_a_schedule(model, n):
    if n == 2:
        model.distillation_loss.temperature = decay(8.0)


def begin_and_end_one(model, n):
    if n == 1:
        model.distillation_loss.temperature = decay(8.0)
    if n == 2:
        model.distillation_loss.temperature = 2.0 + n


def take_another_one(model, n):
    if n in (1, 2):
        model.soft_loss_weight = decay(1.0 + n)


# How often each traces anew.
CHANGES = {
    write_numbers: 0,
    switch_off: 1,
    replace_the_loss: 1,
    replace_the_teacher: 1,
    begin_a_schedule: 1,
    take_another_one: 2,
}


@compiled_only
@pytest.mark.parametrize(
    ("change", "run"),
    [
        *[(change, in_a_fit) for change in CHANGES],
        *[(write_numbers, run) for run in (in_epochs, between_fits)],
        *[(begin_a_schedule, run) for run in (in_epochs, between_fits)],
    ],
)
def test_only_a_new_term_loss_schedule_or_teacher_traces_anew(change, run):
    assert traces(change, run) == CHANGES[change]


@compiled_only
@pytest.mark.parametrize("run", [in_a_fit, in_epochs, between_fits])
def test_the_end_of_a_schedule_takes_one_trace_or_an_earlier_one(run):
    # JAX still has that of before.
    assert traces(begin_and_end_one, run) == (1 if BACKEND == "jax" else 2)


def test_a_teacher_of_the_same_shapes_is_not_taken_for_the_one_before():
    teachers = [models.linear(seed=2) for _ in "ab"]
    teachers[1].layers[-1].activation = keras.ops.negative
    model = made(teacher=teachers[0])
    models.step(model, X, Y)
    model.earlier = [model.train_function]  # Held by someone.
    model.teacher = teachers[1]
    same(models.step(model, X, Y), of_fresh(teacher=teachers[1]))
