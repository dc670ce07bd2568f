"""What the first step of a fit finds in the values of its batch."""

import keras
import models
import numpy as np
import pytest
from keras import layers

import keras_distill as kd

BACKEND = keras.backend.backend()
X, Y = models.data(8)
# A step of each kind; where it is compiled, batches after the first go by.
STEPS = {
    "eager": {"run_eagerly": True},
    "compiled": {"run_eagerly": False, "jit_compile": True},
    "as written": {"run_eagerly": False, "jit_compile": False},
    "several": {"run_eagerly": False, "steps_per_execution": 2},
}
# Keras on torch refuses several; compiling takes long there. On TensorFlow
# several are compiled as one is.
KINDS = {
    "jax": ["eager", "compiled", "several"],
    "tensorflow": ["eager", "several"],
    "torch": ["eager", "as written"],
}[BACKEND]
each_kind_of_step = pytest.mark.parametrize("kind", KINDS)
compiled_only = pytest.mark.skipif(
    BACKEND == "torch", reason="on torch a step is not traced"
)
# What the compiler of torch says of torch, and of Keras's own steps.
pytestmark = [
    pytest.mark.internals,
    pytest.mark.filterwarnings(
        "ignore:.torch.jit.script_method. is deprecated",
        "ignore:The .grad attribute of a Tensor that is not a leaf",
        # TensorFlow's losses see some of what these tests hide.
        "ignore:.*received `from_logits=True`",
    ),
]


class Hidden(models.Subclassed):
    """Ends in an activation that no graph shows."""

    def __init__(self, activation, units=models.CLASSES, seed=1, **head):
        super().__init__(seed=seed)
        self.activation = keras.activations.get(activation)
        self.last = layers.Dense(units, **head)

    def call(self, x):
        return self.activation(self.last(super().call(x)))


class Bernoulli(keras.losses.Loss):
    compares = "labels"

    def call(self, teacher_logits, student_logits):
        difference = keras.ops.square(teacher_logits - student_logits)
        return keras.ops.mean(difference, axis=-1)


def with_nan(seed=2):
    model = models.linear(seed)
    (kernel,) = model.get_weights()
    kernel[0] = np.nan
    model.set_weights([kernel])
    return model


def made(teacher=None, student=None, soft=None, kind="eager", **kwargs):
    model = kd.Distiller(
        teacher or models.linear(seed=2),
        student or models.linear(),
        soft or kd.losses.SoftTargets(2.0),
    )
    options = {"loss": models.CROSSENTROPY, **STEPS[kind], **kwargs}
    model.compile(keras.optimizers.SGD(0.1), **options)
    return model


def fit(model, x=X, y=Y, **kwargs):
    return models.fit(model, x, y, batch_size=4, **kwargs)


# Found, in a step of each kind.

SOFTMAX = "outputs probabilities.*sum to 1.*kd.as_logits"
SIGMOID = "outputs probabilities.*between 0 and 1.*without its sigmoid"
FOUND = {
    "teacher not finite": (
        {"teacher": with_nan},
        r"teacher's logits are not finite. Received: 12 of 12.*Check the teach",
    ),
    "teacher a softmax": (
        {"teacher": lambda: Hidden("softmax")},
        rf"teacher {SOFTMAX}\(teacher\)",
    ),
    "student not finite": (
        {"student": with_nan},
        "student's logits are not finite. Received: 12 of 12",
    ),
    "student a softmax": (
        {"student": lambda: Hidden("softmax")},
        rf"student {SOFTMAX}\(student\)",
    ),
    "values not finite": (
        {"teacher": with_nan, "soft": keras.losses.MeanSquaredError},
        "teacher's logits are not finite",
    ),
}


@pytest.mark.filterwarnings("ignore:.*`jit_compile`")
@each_kind_of_step
@pytest.mark.parametrize("what", FOUND)
def test_a_model_is_refused_at_the_first_step(what, kind):
    parts, message = FOUND[what]
    model = made(**{name: make() for name, make in parts.items()}, kind=kind)
    with pytest.raises(ValueError, match=message):
        fit(model)


def labels(*wrong):
    """Eight labels of which the first are wrong, in batches of four."""
    found = Y.copy()
    found[: len(wrong)] = wrong
    return found


RANGE = "class numbers from 0 to 2.*3 output units. Received: "
FIX = "Check the label encoding.*ignore_class"
OUT_OF_RANGE = {
    "above": (labels(3, 9), f"{RANGE}0 .*below 0 and 2 above 2, of 4. {FIX}"),
    "below": (labels(-1), f"{RANGE}1 .*below 0 and 0 above 2, of 4. {FIX}"),
    "column": (labels(3)[:, None], f"{RANGE}0 .*below 0 and 1 above 2, of 4"),
    "floats": (labels(3).astype("float32"), f"{RANGE}0 .*and 1 above 2"),
}
# TensorFlow's own kernel refuses a label in a step that XLA does not compile,
# on a CPU.
KINDS_OF_LABELS = [
    kind
    for kind in KINDS
    if BACKEND != "tensorflow" or kind in ("eager", "compiled")
]


@pytest.mark.parametrize("kind", KINDS_OF_LABELS)
@pytest.mark.parametrize("what", OUT_OF_RANGE)
def test_labels_out_of_range_are_refused_at_the_first_step(what, kind):
    y, message = OUT_OF_RANGE[what]
    with pytest.raises(ValueError, match=message):
        fit(made(kind=kind), y=y)


def ignoring(label):
    return keras.losses.SparseCategoricalCrossentropy(
        from_logits=True, ignore_class=label
    )


def weights(*given):
    return np.concatenate([given, np.ones(8 - len(given))]).astype("float32")


@pytest.mark.parametrize("kind", KINDS_OF_LABELS)
def test_a_label_that_is_ignored_is_not_looked_at(kind):
    fit(made(kind=kind, loss=ignoring(255)), y=labels(255))
    fit(made(kind=kind, loss=ignoring(-1)), y=labels(-1))
    with pytest.raises(ValueError, match=f"{RANGE}1 .*of 3"):
        fit(made(kind=kind, loss=ignoring(255)), y=labels(255, -1))


# Where Keras's loss passes over a label that there is no unit for.
PASSING = {"jax": KINDS, "tensorflow": ["compiled"], "torch": []}
where_labels_may_be_void = pytest.mark.parametrize("kind", PASSING[BACKEND])


@where_labels_may_be_void
def test_a_label_without_weight_is_not_looked_at(kind):
    fit(made(kind=kind), y=labels(7), sample_weight=weights(0))
    with pytest.raises(ValueError, match=f"{RANGE}.*1 above 2, of 3"):
        fit(made(kind=kind), y=labels(7, 8), sample_weight=weights(0, 2))


@where_labels_may_be_void
def test_a_label_at_a_masked_position_is_not_looked_at(kind):
    words, y = models.sequences()
    teacher, student = (models.tagger(mask_zero=True, seed=s) for s in (2, 1))
    start = student.get_weights()
    y[words == 0] = 9
    assert (words[:4] == 0).any()
    fit(made(teacher, student, kind=kind), words, y)
    y[:] = 9
    student.set_weights(start)  # TensorFlow's loss may be NaN at such labels.
    count = np.count_nonzero(words[:4])
    with pytest.raises(ValueError, match=f" {count} above 2, of {count}"):
        fit(made(teacher, student, kind=kind), words, y)


# Not found, because there is nothing to find.


def one_hot():
    return {"loss": keras.losses.CategoricalCrossentropy(from_logits=True)}, (
        np.eye(3, dtype="float32")[Y]
    )


def regression():
    values = {"soft": keras.losses.MeanSquaredError(), "loss": "mse"}
    return values, X[:, :3] + 9


def for_metrics():
    return {"loss": None, "metrics": ["accuracy"], "hard": 0}, labels(9)


def probabilities_as_values():
    return {
        "teacher": Hidden("softmax"),
        "student": Hidden("softmax", seed=2),
        "soft": keras.losses.MeanSquaredError(),
        "loss": "mse",
    }, np.eye(3, dtype="float32")[Y]


def logits_of_a_new_head():
    binary = keras.losses.BinaryCrossentropy(from_logits=True)
    zero = Hidden(None, 30, kernel_initializer="zeros")
    parts = {"teacher": Hidden(None, 30, seed=2), "student": zero}
    parts |= {"soft": Bernoulli(), "loss": binary}
    return parts, np.ones((8, 30), "float32")


def one_unit_between_0_and_1():
    """What a sigmoid could give, and a new student could as well."""
    binary = keras.losses.BinaryCrossentropy(from_logits=True)
    teacher, student = (Hidden("sigmoid", 1, seed=seed) for seed in (2, 1))
    parts = {"teacher": teacher, "student": student}
    parts |= {"soft": Bernoulli(), "loss": binary}
    return parts, np.ones((8, 1), "float32")


NOT_FOUND = [
    one_hot,
    regression,
    for_metrics,
    probabilities_as_values,
    logits_of_a_new_head,
    one_unit_between_0_and_1,
]


@each_kind_of_step
@pytest.mark.parametrize("case", NOT_FOUND)
@pytest.mark.once
def test_what_is_right_passes(case, kind):
    parts, y = case()
    hard = parts.pop("hard", None)
    model = made(**parts, kind=kind)
    if hard is not None:
        model.hard_loss_weight = hard
    assert np.isfinite(fit(model, y=y)["loss"]).all()


# Labels that do not exclude each other.


def of_labels(units, **kwargs):
    pair = (Hidden(None, units, seed=seed) for seed in (2, 1))
    parts = dict(zip(("teacher", "student"), pair, strict=True))
    binary = keras.losses.BinaryCrossentropy(from_logits=True)
    return made(**(parts | kwargs), soft=Bernoulli(), loss=binary)


@each_kind_of_step
@pytest.mark.parametrize("name", ["teacher", "student"])
@pytest.mark.once
def test_a_sigmoid_of_many_labels_is_refused(name, kind):
    y = np.ones((8, 20), "float32")
    fit(of_labels(20, kind=kind), y=y)
    model = of_labels(20, kind=kind, **{name: Hidden("sigmoid", 20)})
    with pytest.raises(ValueError, match=f"{name} {SIGMOID}"):
        fit(model, y=y)


def test_a_sigmoid_of_one_unit_is_refused_in_a_teacher_that_is_sure():
    x, y = np.linspace(-4, 4, 64).reshape(32, 2), np.ones((32, 1))
    teacher = Hidden("sigmoid", 1)
    teacher(x)
    # One that has learned something is sure of some examples.
    teacher.last.set_weights([99 * w for w in teacher.last.get_weights()])
    outputs = models.logits(teacher, x)
    assert outputs.min() < 0.25 and outputs.max() > 0.75
    model = of_labels(1, teacher=teacher, student=Hidden(None, 1))
    with pytest.raises(ValueError, match=f"teacher {SIGMOID}"):
        models.fit(model, x, y, batch_size=32)
    # A student need not be.
    models.fit(of_labels(1, student=Hidden("sigmoid", 1)), x, y, 32)


# Precision.


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
@pytest.mark.once
def test_a_softmax_of_half_precision_is_refused(policy):
    student = models.with_policy(policy, models.Subclassed)
    fit(made(student=student, kind="compiled"))
    teacher = models.with_policy(policy, Hidden, activation="softmax")
    with pytest.raises(ValueError, match=f"teacher {SOFTMAX}"):
        fit(made(teacher, kind="compiled"))


# Several outputs.


def two_heads(seed=1):
    keras.utils.set_random_seed(seed)
    x = keras.Input((models.FEATURES,))
    heads = {name: layers.Dense(models.CLASSES, name=name) for name in "ab"}
    return keras.Model(x, {name: head(x) for name, head in heads.items()})


@pytest.mark.parametrize("kind", KINDS_OF_LABELS)
@pytest.mark.parametrize("name", "ab")
def test_labels_of_each_output_are_looked_at(name, kind):
    loss = {"a": ignoring(255), "b": models.CROSSENTROPY}
    pair = two_heads(seed=2), two_heads()
    y = {"a": labels(255), "b": Y}
    fit(made(*pair, kind=kind, loss=loss), y=y)
    with pytest.raises(ValueError, match=f"Output '{name}': Labels.*1 above"):
        fit(made(*pair, kind=kind, loss=loss), y={**y, name: labels(4)})


@each_kind_of_step
def test_the_output_that_is_not_finite_is_named(kind):
    teacher = two_heads(seed=2)
    layer = teacher.get_layer("b")
    layer.set_weights([np.nan * w for w in layer.get_weights()])
    model = made(teacher, two_heads(), kind=kind, loss=None)
    with pytest.raises(ValueError, match="Output 'b': The teacher's logits"):
        fit(model, y=None)


@each_kind_of_step
@pytest.mark.once
def test_an_output_without_a_teacher_is_left_to_its_own_loss(kind):
    soft = {"a": kd.losses.SoftTargets(2.0), "b": None}
    teacher = two_heads(seed=2)
    layer = teacher.get_layer("b")
    layer.set_weights([np.nan * w for w in layer.get_weights()])
    loss = {"a": models.CROSSENTROPY, "b": "mse"}
    model = made(teacher, two_heads(), soft, kind, loss=loss)
    logs = fit(model, y={"a": Y, "b": X[:, :3] + 9})
    assert np.isfinite(logs["loss"]).all()


# Logits that come with the data.


@each_kind_of_step
def test_attached_logits_are_looked_at(kind):
    model = made(kind=kind)
    model.teacher = None
    logits = np.ones((8, models.CLASSES), "float32")
    rest = {"y": Y, "batch_size": 4, "verbose": 0}
    model.fit(kd.WithTeacherLogits(X, logits), **rest)
    with pytest.raises(ValueError, match=f"teacher {SOFTMAX}"):
        model.fit(kd.WithTeacherLogits(X, logits / models.CLASSES), **rest)


# When it happens.


@pytest.mark.parametrize("kind", ["compiled", "as written"])
def test_later_steps_are_not_looked_at_and_the_next_fit_is(kind):
    model, x = made(kind=kind, loss=None), X.copy()
    x[4:] = np.nan  # The second batch.
    logs = fit(model, x, None, epochs=2)
    assert np.isnan(logs["loss"]).all()
    model.student.set_weights(models.linear().get_weights())
    with pytest.raises(ValueError, match="teacher's logits are not finite"):
        fit(model, x[::-1].copy(), None)


def test_eager_steps_are_all_looked_at():
    x = X.copy()
    x[4:] = np.nan
    with pytest.raises(ValueError, match="teacher's logits are not finite"):
        fit(made(loss=None), x, None)


@each_kind_of_step
def test_the_first_step_of_train_on_batch_is_looked_at(kind):
    model = made(with_nan(), kind=kind)
    for _ in range(2):
        with pytest.raises(ValueError, match="teacher's logits"):
            models.step(model, X, Y)


@each_kind_of_step
def test_a_teacher_replaced_within_a_fit_is_looked_at(kind):
    model = made(kind=kind)

    def replace(epoch, logs):
        model.teacher = with_nan()

    callback = keras.callbacks.LambdaCallback(on_epoch_end=replace)
    with pytest.raises(ValueError, match="teacher's logits are not finite"):
        fit(model, epochs=2, callbacks=[callback])


# What it must not do.


def updates(kind):
    """How many the student has made when the error comes."""
    if BACKEND != "tensorflow" or kind == "eager":
        return 0
    return STEPS[kind].get("steps_per_execution", 1)


@each_kind_of_step
def test_a_refused_student_is_there_to_be_trained(kind):
    student = Hidden("softmax")
    student(X)
    before = models.snapshot(student)
    model = made(student=student, kind=kind)
    with pytest.raises(ValueError, match=f"student {SOFTMAX}"):
        fit(model)
    assert int(model.optimizer.iterations.value) == updates(kind)
    moved = models.changed(before, models.snapshot(student))
    assert moved == (updates(kind) > 0)
    fit(made(student=kd.as_logits(student), kind=kind))


@compiled_only
def test_one_step_is_traced():
    student = models.Recorder(models.linear())
    model = made(student=student, kind="compiled")
    for _ in range(2):
        fit(model, epochs=2)
    assert student.calls.count(True) == 1


class Counting:
    """A generator of batches that counts those that were drawn."""

    def __init__(self):
        self.drawn = 0

    def __iter__(self):
        while True:
            self.drawn += 1
            yield X[:4], Y[:4]


@pytest.mark.skipif(
    BACKEND == "tensorflow", reason="TensorFlow draws ahead, as many as it can"
)
@each_kind_of_step
def test_no_batch_is_drawn_twice(kind):
    drawn = []
    for model in (made(kind=kind), models.linear()):
        batches = Counting()
        options = {"loss": models.CROSSENTROPY, **STEPS[kind]}
        model.compile("sgd", **options)
        model.fit(iter(batches), steps_per_epoch=4, shuffle=False, verbose=0)
        drawn.append(batches.drawn)
    assert drawn[0] == drawn[1]


@pytest.mark.parametrize("kind", dict.fromkeys([*KINDS, "compiled"]))
def test_a_step_that_is_looked_at_learns_and_logs_the_same(kind):
    model = made(student=models.noisy(rate=0.0), kind=kind)
    model.optimizer.learning_rate = 0.0
    x, y = np.tile(X[:4], (2, 1)), np.tile(Y[:4], 2)
    # On torch the first step alone runs as it is written, and rounds apart.
    apart = 1e-6 if BACKEND == "torch" and kind == "compiled" else 0
    assert_same_in_all_epochs(fit(model, x, y, epochs=3), apart)
    names = {"loss", "hard_loss", "soft_loss"}
    assert fit(model, x, y).keys() == names
    assert {m.name for m in model.metrics} >= names


def assert_same_in_all_epochs(logs, rtol):
    for values in logs.values():
        np.testing.assert_allclose(values, values[0], rtol=rtol)


def test_nothing_is_tracked():
    model = made(kind="compiled")
    variables = len(model.variables), len(model.metrics_variables)
    count = model.count_params()
    fit(model)
    assert (len(model.variables), len(model.metrics_variables)) == variables
    assert model.count_params() == count


@each_kind_of_step
def test_an_evaluation_is_not_looked_at(kind):
    model = made(student=with_nan(), kind=kind)
    assert np.isnan(models.evaluate(model, X, Y)["loss"])
