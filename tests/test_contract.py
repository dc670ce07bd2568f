"""What a Distiller promises holds however Keras runs its steps.

Each row of the contract, under each way to run a step, against a plain Keras
model that says the same without this package: the student with its output
twice, once for the labels and once for the teacher's logits, with a weight for
each loss.
"""

import backend
import keras
import models
import numpy as np
import pytest
from keras import layers

import keras_distill as kd

HARD, SOFT = 0.3, 0.7
EXAMPLES, BATCH = 20, 4  # Five steps: one execution of four, and one of one.
BACKEND = keras.backend.backend()

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


# "All at once" has what the others have; on torch it is not there.
TRIED = {
    "jax": ["plainly", "four in one", "all at once"],
    "tensorflow": ["plainly", "all at once"],
    "torch": ["accumulating", "with averages", "in float16"],
}


@pytest.fixture(params=TRIED[BACKEND])
def way(request):
    return Way(*WAYS[request.param])


def noisy(seed=1):
    """State of every kind; of a seed given, dropout is the same on torch."""
    keras.utils.set_random_seed(seed)
    inputs = keras.Input((models.FEATURES,))
    x = layers.Dense(6, "relu", kernel_regularizer="l2")(inputs)
    x = layers.Dropout(0.5, seed=seed)(layers.BatchNormalization()(x))
    return keras.Model(inputs, layers.Dense(models.CLASSES)(x))


class Way:
    """Builds and compiles models that run in one of the ways."""

    def __init__(self, compile_args, optimizer_args, policy):
        self.compile_args = compile_args
        self.optimizer_args = optimizer_args
        self.policy = policy

    @property
    def tolerance(self):
        return 2e-3 if self.policy == "mixed_float16" else 1e-5

    def build(self, build=noisy, **kwargs):
        return models.with_policy(self.policy, build, **kwargs)

    def compiled(self, model, rate=0.05, **kwargs):
        optimizer = keras.optimizers.SGD(rate, 0.9, **self.optimizer_args)
        model.compile(optimizer, **kwargs, **self.compile_args)
        return model

    def teacher(self):
        return self.build(seed=2)

    def distiller(
        self,
        hard=HARD,
        soft=SOFT,
        rate=0.05,
        loss=None,
        teacher=None,
        **kwargs,
    ):
        model = kd.Distiller(
            teacher or self.teacher(),
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

    def twice(self, hard=HARD, soft=SOFT, rate=0.05, loss=None, **kwargs):
        """The student with a copy of its output for the teacher's logits."""
        model = self.build(lambda: _twice(self.build(**kwargs)))
        loss = loss or kd.losses.SoftTargets(models.TEMPERATURE)
        return self.compiled(
            model,
            rate,
            loss=[models.CROSSENTROPY, loss],
            loss_weights=[hard, soft],
            metrics=[["accuracy"], []],
        )

    def logits(self):
        return models.logits(self.teacher(), X)

    def assert_close(self, found, expected):
        assert found == pytest.approx(expected, rel=self.tolerance)

    def assert_same_run(self, model, other, found, expected):
        assert found.keys() >= expected.keys()
        for name in expected:
            self.assert_close(found[name], expected[name])
        self.assert_same_state(model, other)

    def assert_same_state(self, model, expected):
        """Weights, moving averages, seeds, and all that the optimizer has."""
        pairs = [
            (model.trainable_variables, expected.trainable_variables),
            (model.non_trainable_variables, expected.non_trainable_variables),
            (model.optimizer.variables, expected.optimizer.variables),
        ]
        for variables, others in pairs:
            for a, b in zip(variables, others, strict=True):
                a, b = (backend.to_numpy(v.value) for v in (a, b))
                scale = max(1.0, np.abs(b).max())
                np.testing.assert_allclose(a, b, 0, self.tolerance * scale)


def _twice(student):
    [output] = student.outputs
    copy = layers.Identity()(output)
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


def test_the_objective_is_the_weighted_sum_and_what_the_student_adds(way):
    model, plain = way.labelled(), way.twice()
    found = fit(model, X, Y, epochs=2)
    expected = as_one(fit(plain, X, [Y, way.logits()], epochs=2))
    way.assert_same_run(model, plain, found, expected)


def test_weights_and_masks_count_in_both_terms(way):
    words, labels = models.sequences(EXAMPLES)
    options = {"build": models.tagger, "mask_zero": True}
    teacher = way.build(models.tagger, seed=2)
    model = way.labelled(teacher=teacher, **options)
    plain = way.twice(**options)
    weights = np.repeat(WEIGHTS[:, None], models.STEPS, axis=1)
    found = fit(model, words, labels, sample_weight=weights)
    targets, weights = [labels, models.logits(teacher, words)], [weights] * 2
    expected = as_one(fit(plain, words, targets, sample_weight=weights))
    way.assert_same_run(model, plain, found, expected)


def test_without_a_soft_term_it_is_the_plain_student(way):
    model, student = way.labelled(hard=1, soft=0), way.student()
    arguments = {"epochs": 2, "validation_data": (X, Y)}
    logs = fit(model, X, Y, **arguments)
    expected = fit(student, X, Y, **arguments)
    assert logs.pop("hard_loss")[0] < logs["loss"][0]  # And a regulariser.
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


def test_validation_is_that_of_the_student_and_nothing_else_changes(way):
    model = way.labelled()
    student, teacher = model.student, model.teacher
    before = models.snapshot(teacher)
    logs = fit(model, X, Y, validation_data=(X, Y))
    models.assert_same(models.snapshot(teacher), before)
    assert teacher.trainable
    before = models.snapshot(student)
    found = models.evaluate(model, X, Y, batch_size=BATCH)
    models.assert_same(models.snapshot(student), before)
    if not way.optimizer_args:  # Averages come into force after validation.
        for name, value in found.items():
            way.assert_close(logs[f"val_{name}"], [value])
    way.compiled(student, loss=models.CROSSENTROPY, metrics=["accuracy"])
    expected = models.evaluate(student, X, Y, batch_size=BATCH)
    assert found.keys() == expected.keys() == {"loss", "accuracy"}
    for name in expected:
        way.assert_close(found[name], expected[name])


def test_what_a_callback_changes_is_in_force_at_the_next_step(way):
    """The student stays where it is, so that epochs can be compared."""

    def change(epoch, logs):
        if epoch == 1:
            model.hard_loss_weight, model.soft_loss_weight = 0.6, 0.2
            model.distillation_loss.temperature = 5.0
        if epoch == 2:
            model.distillation_loss = kd.losses.LogitMatching()
            model.teacher = way.build(seed=4)

    options = {"rate": 0.0, "build": models.linear}
    model = way.labelled(**options)
    callback = keras.callbacks.LambdaCallback(on_epoch_begin=change)
    found = fit(model, X, Y, epochs=3, callbacks=[callback])
    first, other = way.logits(), models.logits(way.build(seed=4), X)
    softened = kd.losses.SoftTargets(models.TEMPERATURE)
    softer, matching = kd.losses.SoftTargets(5.0), kd.losses.LogitMatching()
    for epoch, (hard, soft, loss, logits) in enumerate(
        [
            (HARD, SOFT, softened, first),
            (0.6, 0.2, softer, first),
            (0.6, 0.2, matching, other),
        ]
    ):
        plain = way.twice(hard, soft, loss=loss, **options)
        expected = as_one(fit(plain, X, [Y, logits]))
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
