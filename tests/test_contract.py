"""What a Distiller promises holds however Keras runs its steps.

Each row of the contract, under each way to run a step, against a plain Keras
model that says the same without this package: the student with its output
twice, once for the labels and once for the teacher's logits, with a weight for
each loss.
"""

import keras
import models
import numpy as np
import pytest

import keras_distill as kd

HARD, SOFT = 0.3, 0.7
EXAMPLES, BATCH = 20, 4  # Five steps: one execution of four, and one of one.
TORCH = keras.backend.backend() == "torch"

# How the steps are run: arguments of `compile` and of the optimizer, a policy.
WAYS = {
    "plainly": ({}, {}, "float32"),
    "four in one": ({"steps_per_execution": 4}, {}, "float32"),
    "accumulating": ({}, {"gradient_accumulation_steps": 2}, "float32"),
    "with averages": (
        {},
        {"use_ema": True, "ema_momentum": 0.5, "ema_overwrite_frequency": 2},
        "float32",
    ),
    "in float16": ({}, {}, "mixed_float16"),
    "all at once": (
        {"steps_per_execution": 4},
        {
            "gradient_accumulation_steps": 2,
            "use_ema": True,
            "ema_momentum": 0.5,
        },
        "mixed_float16",
    ),
}
X, Y = models.data(EXAMPLES)
WEIGHTS = np.arange(EXAMPLES, dtype="float32") / EXAMPLES


@pytest.fixture(params=WAYS)
def way(request):
    if TORCH and "steps_per_execution" in WAYS[request.param][0]:
        pytest.skip("Keras on torch has no steps_per_execution")
    return Way(*WAYS[request.param])


class Way:
    """Builds and compiles models that run in one of the ways."""

    def __init__(self, compile_args, optimizer_args, policy):
        self.compile_args = compile_args
        self.optimizer_args = optimizer_args
        self.policy = policy

    @property
    def tolerance(self):
        return 2e-3 if self.policy == "mixed_float16" else 1e-5

    def build(self, build=models.noisy, **kwargs):
        return models.with_policy(self.policy, build, **kwargs)

    def compiled(self, model, rate=0.05, **kwargs):
        optimizer = keras.optimizers.Adam(rate, **self.optimizer_args)
        model.compile(optimizer, **kwargs, **self.compile_args)
        return model

    def teacher(self):
        return self.build(models.sequential, seed=2)

    def distiller(self, hard=HARD, soft=SOFT, rate=0.05, loss=None, **kwargs):
        model = kd.Distiller(
            self.teacher(),
            self.build(**kwargs),
            kd.losses.SoftTargets(models.TEMPERATURE),
            hard_loss_weight=hard,
            soft_loss_weight=soft,
        )
        metrics = ["accuracy"] if loss else None
        return self.compiled(model, rate, loss=loss, metrics=metrics)

    def labelled(self, **kwargs):
        return self.distiller(loss=models.CROSSENTROPY, **kwargs)

    def student(self, rate=0.05, loss=models.CROSSENTROPY, **kwargs):
        metrics = ["accuracy"] if loss is models.CROSSENTROPY else None
        model = self.build(**kwargs)
        return self.compiled(model, rate, loss=loss, metrics=metrics)

    def twice(self, hard=HARD, soft=SOFT, rate=0.05, **kwargs):
        """The student with a copy of its output for the teacher's logits."""
        model = self.build(lambda: _twice(self.build(**kwargs)))
        losses = models.CROSSENTROPY, kd.losses.SoftTargets(models.TEMPERATURE)
        return self.compiled(
            model,
            rate,
            loss=list(losses),
            loss_weights=[hard, soft],
            metrics=[["accuracy"], []],
        )

    def logits(self):
        return np.array(models.logits(self.teacher(), X))

    def assert_close(self, found, expected):
        assert found == pytest.approx(expected, rel=self.tolerance)

    def assert_same_state(self, model, expected):
        """Weights, moving averages and seeds, and all that the optimizer has.

        But for the moving squares: those of a gradient near 0 are what is
        left of a difference.
        """
        pairs = [
            (model.trainable_variables, expected.trainable_variables),
            (model.non_trainable_variables, expected.non_trainable_variables),
        ]
        for variables, others in pairs:
            for a, b in zip(variables, others, strict=True):
                np.testing.assert_allclose(
                    np.array(a), np.array(b), rtol=0, atol=self.tolerance
                )
        found, wanted = model.optimizer, expected.optimizer
        assert int(found.iterations) == int(wanted.iterations)
        if self.policy == "mixed_float16":
            assert float(found.dynamic_scale) == float(wanted.dynamic_scale)


def _twice(student):
    [output] = student.outputs
    copy = keras.layers.Identity()(output)
    return keras.Model(student.inputs[0], [output, copy])


def fit(model, x, y=None, **kwargs):
    return models.fit(model, x, y, batch_size=BATCH, **kwargs)


def as_one(logs):
    """Logs of the model with two outputs, by the names of a Distiller."""
    accuracy, *others = [n for n in logs if "accuracy" in n]
    assert others == []
    losses = [name for name in logs if name not in ("loss", accuracy)]
    hard, soft = losses
    names = {"loss": "loss", accuracy: "accuracy"}
    names |= {hard: "hard_loss", soft: "soft_loss"}
    return {names[name]: values for name, values in logs.items()}


def assert_equal_runs(way, model, plain, kwargs):
    logs = fit(model, X, Y, epochs=2, **kwargs)
    sample_weight = kwargs.pop("sample_weight", None)
    if sample_weight is not None:
        kwargs["sample_weight"] = [sample_weight, sample_weight]
    targets = [Y, way.logits()]
    expected = as_one(fit(plain, X, targets, epochs=2, **kwargs))
    assert logs.keys() == expected.keys()
    for name, values in expected.items():
        way.assert_close(logs[name], values)
    way.assert_same_state(model, plain)


def test_the_objective_is_the_weighted_sum_and_what_the_student_adds(way):
    assert_equal_runs(way, way.labelled(), way.twice(), {})


def test_sample_weights_apply_to_both_terms(way):
    arguments = {"sample_weight": WEIGHTS}
    assert_equal_runs(way, way.labelled(), way.twice(), arguments)


def test_class_weights_are_the_sample_weights_of_the_labels(way):
    by_class = {0: 0.5, 1: 1.0, 2: 2.0}
    model, other = way.labelled(), way.labelled()
    logs = fit(model, X, Y, epochs=2, class_weight=by_class)
    weights = np.array([by_class[label] for label in Y], "float32")
    expected = fit(other, X, Y, epochs=2, sample_weight=weights)
    for name in expected:
        way.assert_close(logs[name], expected[name])
    way.assert_same_state(model, other)


def test_without_a_soft_term_it_is_the_plain_student(way):
    model, student = way.labelled(hard=1, soft=0), way.student()
    arguments = {"epochs": 2, "validation_data": (X, Y)}
    logs, expected = (
        fit(model, X, Y, **arguments),
        fit(student, X, Y, **arguments),
    )
    assert logs.pop("hard_loss") != []
    assert logs.keys() == expected.keys()
    for name in expected:
        way.assert_close(logs[name], expected[name])
    way.assert_same_state(model, student)


def test_unlabelled_data_train_on_the_teacher_alone(way):
    model = way.distiller(hard=0, soft=1)
    student = way.student(loss=kd.losses.SoftTargets(models.TEMPERATURE))
    logs = fit(model, X, epochs=2)
    expected = fit(student, X, way.logits(), epochs=2)
    assert logs.keys() == {"loss", "soft_loss"}
    way.assert_close(logs["loss"], expected["loss"])
    way.assert_same_state(model, student)


def test_evaluation_is_that_of_the_student(way):
    model = way.labelled()
    fit(model, X, Y)
    student = model.student
    before = models.snapshot(student), models.snapshot(model.teacher)
    found = models.evaluate(model, X, Y, batch_size=BATCH)
    way.compiled(student, loss=models.CROSSENTROPY, metrics=["accuracy"])
    expected = models.evaluate(student, X, Y, batch_size=BATCH)
    assert found.keys() == expected.keys() == {"loss", "accuracy"}
    for name in expected:
        way.assert_close(found[name], expected[name])
    models.assert_same(models.snapshot(student), before[0])
    models.assert_same(models.snapshot(model.teacher), before[1])


def test_the_teacher_is_not_changed(way):
    model = way.labelled()
    before = models.snapshot(model.teacher)
    fit(model, X, Y, epochs=2, validation_data=(X, Y))
    models.assert_same(models.snapshot(model.teacher), before)
    assert model.teacher.trainable


def test_numbers_that_a_callback_changes_are_in_force_at_the_next_step(way):
    """The student stays where it is, so that two epochs can be compared."""

    def change(epoch, logs):
        if epoch == 1:
            model.hard_loss_weight, model.soft_loss_weight = 0.6, 0.2
            model.distillation_loss.temperature = 5.0

    options = {"rate": 0.0, "build": models.linear}
    model = way.labelled(**options)
    callback = keras.callbacks.LambdaCallback(on_epoch_begin=change)
    found = fit(model, X, Y, epochs=2, callbacks=[callback])
    for epoch, weights, temperature in [
        (0, (HARD, SOFT), models.TEMPERATURE),
        (1, (0.6, 0.2), 5.0),
    ]:
        plain = way.twice(*weights, **options)
        plain.loss[1].temperature = temperature
        expected = as_one(fit(plain, X, [Y, way.logits()]))
        for name in expected:
            way.assert_close(found[name][epoch : epoch + 1], expected[name])


def test_a_run_from_a_file_goes_on_as_the_run_itself(way, tmp_path):
    # Without dropout: Keras does not store the state of random seeds.
    options = {"build": models.sequential}
    model = way.labelled(**options)
    fit(model, X, Y, epochs=2)
    model.save(tmp_path / "distiller.keras")
    loaded = keras.models.load_model(tmp_path / "distiller.keras")
    loaded.teacher = way.teacher()
    found, expected = (fit(m, X, Y, epochs=2) for m in (loaded, model))
    for name in expected:
        way.assert_close(found[name], expected[name])
    way.assert_same_state(loaded, model)


def test_attached_logits_train_as_the_teacher_itself(way):
    model, other = way.labelled(), way.labelled()
    other.teacher = None
    expected = fit(model, X, Y, epochs=2)
    pair = kd.WithTeacherLogits(X, way.logits())
    found = models.fit(other, Attached(pair, Y), epochs=2)
    for name in expected:
        way.assert_close(found[name], expected[name])
    way.assert_same_state(other, model)


class Attached(keras.utils.PyDataset):
    """Batches of inputs with logits, and of labels."""

    def __init__(self, pair, y):
        super().__init__()
        self.pair, self.y = pair, y

    def __len__(self):
        return EXAMPLES // BATCH

    def __getitem__(self, index):
        rows = slice(BATCH * index, BATCH * index + BATCH)
        x, logits = self.pair
        return kd.WithTeacherLogits(x[rows], logits[rows]), self.y[rows]


# What is special about each way.


def test_a_loss_that_is_scaled_is_scaled_once_and_logged_as_it_is():
    way = Way(*WAYS["in float16"])
    model, plain = way.labelled(), way.twice()
    for other in (model, plain):
        assert isinstance(other.optimizer, keras.optimizers.LossScaleOptimizer)
    found = fit(model, X, Y)
    expected = as_one(fit(plain, X, [Y, way.logits()]))
    whole = HARD * found["hard_loss"][0] + SOFT * found["soft_loss"][0]
    assert found["loss"][0] < 10
    assert found["loss"][0] > whole  # And the regulariser of the student.
    way.assert_close(found["loss"], expected["loss"])


@pytest.mark.parametrize("scale", [2.0**15, 2.0**4])
def test_a_loss_scale_that_overflows_is_halved_as_for_a_plain_model(scale):
    """Inputs so large that gradients overflow in float16 at first."""
    way = Way(*WAYS["in float16"])
    scales = []
    for model, y in [
        (way.labelled(build=models.linear), Y),
        (way.twice(build=models.linear), [Y, way.logits()]),
    ]:
        model.optimizer.initial_scale = scale
        model.optimizer.build(model.trainable_variables)
        model.optimizer.dynamic_scale.assign(scale)
        fit(model, 300 * X, y)
        scales.append(float(model.optimizer.dynamic_scale))
    assert scales[0] == scales[1]
    assert (scales[0] < scale) == (scale > 100)


def test_averages_are_of_the_students_weights():
    way = Way(*WAYS["with averages"])
    model, plain = way.labelled(), way.twice()
    fit(model, X, Y, epochs=2)
    fit(plain, X, [Y, way.logits()], epochs=2)
    pairs = zip(
        model.optimizer._model_variables_moving_average,
        plain.optimizer._model_variables_moving_average,
        strict=True,
    )
    for average, other in pairs:
        np.testing.assert_allclose(
            np.array(average), np.array(other), rtol=0, atol=1e-5
        )
