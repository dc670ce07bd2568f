"""Fidelity: every entry against float64 NumPy, in one pass over any data."""

import backend
import keras
import models
import numpy as np
import pytest
import reference
from keras import layers, ops

import keras_distill as kd

# Keras on torch converts tensors in a way that NumPy 2 warns about.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation")
ROWS, FEATURES, CLASSES = 40, 4, 10
RELATIVE = ["agreement_at_1", "agreement_at_5", "kl_divergence"]


def model(classes=CLASSES, shape=(FEATURES,), **kwargs):
    scale = keras.initializers.RandomNormal(stddev=1.0)
    dense = layers.Dense(classes, kernel_initializer=scale, **kwargs)
    return keras.Sequential([keras.Input(shape), dense])


def data(rows=ROWS, shape=(FEATURES,), classes=CLASSES):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(rows, *shape)).astype("float32")
    return x, rng.integers(0, classes, (rows, *shape[:-1]))


def fidelity(teacher, student, dataset, **kwargs):
    kwargs = {"verbose": 0, **kwargs}
    return kd.evaluate_fidelity(teacher, student, dataset, **kwargs)


def logits(some_model, x):
    values = backend.to_numpy(some_model(x)).astype("float64")
    return values.reshape(-1, values.shape[-1])


def expected(v, z, labels=None, weight=None):
    """Each entry from its definition, for weights that are whole numbers."""
    repeat = np.asarray(weight if weight is not None else 1, "int64")
    repeat = np.broadcast_to(repeat, len(v))
    v, z = np.repeat(v, repeat, axis=0), np.repeat(z, repeat, axis=0)
    p, q = reference.softmax(v), reference.softmax(z)
    best = p.argmax(-1)
    top5 = np.argsort(-q, axis=-1)[:, :5]
    entries = {
        "agreement_at_1": (best == q.argmax(-1)).mean(),
        "agreement_at_5": (best[:, None] == top5).any(-1).mean(),
        "kl_divergence": reference.kl_divergence(p, q).mean(),
    }
    if labels is None:
        return entries
    labels = np.repeat(np.ravel(labels), repeat)
    for name, r in {"teacher": p, "student": q}.items():
        chosen = r[np.arange(len(r)), labels]
        ece = reference.expected_calibration_error(r, labels)
        entries[f"{name}_accuracy"] = (r.argmax(-1) == labels).mean()
        entries[f"{name}_nll"] = -np.log(chosen).mean()
        entries[f"{name}_ece"] = ece
    return entries


def assert_equal(actual, reference_value, tolerance=1e-5):
    assert list(actual) == list(reference_value)
    assert all(type(value) is float for value in actual.values())
    for name, value in reference_value.items():
        scale = max(1.0, abs(value))
        assert abs(actual[name] - value) < tolerance * scale, name


# The numbers.


@pytest.mark.parametrize("classes", [2, 5, 6])
def test_every_entry(classes):
    teacher, student = model(classes), model(classes)
    x, y = data(classes=classes)
    v, z = logits(teacher, x), logits(student, x)
    actual = fidelity(teacher, student, (x, y))
    assert_equal(actual, expected(v, z, y))
    some_disagree = actual["agreement_at_1"] < actual["agreement_at_5"] < 1
    assert some_disagree == (classes > 5)


def test_calibration_error_of_many_examples():
    teacher, student = model(3), model(3)
    x, y = data(rows=500, classes=3)
    actual = fidelity(teacher, student, (x, y), batch_size=64)
    assert_equal(actual, expected(logits(teacher, x), logits(student, x), y))


@pytest.mark.parametrize("dataset", [lambda x: (x,), lambda x: x])
def test_unlabelled_data(dataset):
    teacher, student = model(), model()
    x, _ = data()
    actual = fidelity(teacher, student, dataset(x))
    assert list(actual) == RELATIVE
    assert_equal(actual, expected(logits(teacher, x), logits(student, x)))


@pytest.mark.parametrize(
    "convert",
    [
        lambda y: y[:, None],
        lambda y: np.eye(CLASSES)[y],
        lambda y: y.astype("float32"),
    ],
    ids=["column", "one-hot", "float32"],
)
@pytest.mark.once
def test_forms_of_labels(convert):
    teacher, student = model(), model()
    x, y = data()
    actual = fidelity(teacher, student, (x, convert(y)))
    assert_equal(actual, expected(logits(teacher, x), logits(student, x), y))


@pytest.mark.parametrize("ignored", [-1, 255, 0])
@pytest.mark.once
def test_an_ignored_label_is_none(ignored):
    shape = (3, FEATURES)
    teacher, student = model(shape=shape), model(shape=shape)
    x, y = data(shape=shape)
    weight = np.arange(y.size).reshape(y.shape) % 4
    y = np.where((weight == 1) | (y == ignored), ignored, y)
    v, z = logits(teacher, x), logits(student, x)
    actual = fidelity(
        teacher, student, (x, y, weight), ignore_class=ignored, batch_size=16
    )
    labelled = np.ravel(weight * (y != ignored))
    reference_value = expected(v, z, np.where(y == ignored, 0, y), labelled)
    reference_value |= expected(v, z, weight=np.ravel(weight))
    assert_equal(actual, reference_value)


def test_data_whose_labels_are_all_ignored_are_unlabelled():
    teacher, student = model(), model()
    x, y = data()
    actual = fidelity(teacher, student, (x, 0 * y - 1), ignore_class=-1)
    assert_equal(actual, fidelity(teacher, student, (x,)))


@pytest.mark.parametrize("label", [-1, CLASSES, 255])
@pytest.mark.parametrize("kind", ["arrays", "generator"])
@pytest.mark.once
def test_labels_that_are_no_class_are_refused(label, kind):
    x, y = data()
    y[3:5] = label
    batches = ((x[i : i + 8], y[i : i + 8]) for i in range(0, ROWS, 8))
    dataset = (x, y) if kind == "arrays" else batches
    with pytest.raises(
        ValueError, match="2 labels that are not, and ignore_cl"
    ):
        fidelity(model(), model(), dataset, ignore_class=-2)


def test_labels_that_weigh_nothing_may_be_anything():
    teacher, student = model(), model()
    x, y = data()
    weight = np.arange(ROWS) % 2
    void = np.where(weight == 0, -1, y)
    found = [fidelity(teacher, student, (x, t, weight)) for t in (y, void)]
    assert found[0] == found[1]


@pytest.mark.parametrize("value", [True, 1.0, "void"])
def test_a_bad_ignore_class_is_refused(value):
    with pytest.raises(ValueError, match=f"Received: ignore_class={value!r}"):
        fidelity(model(), model(), data(), ignore_class=value)


@pytest.mark.parametrize("column", [False, True])
def test_sample_weights_repeat_examples(column):
    teacher, student = model(), model()
    x, y = data()
    weight = np.arange(ROWS) % 4
    v, z = logits(teacher, x), logits(student, x)
    passed = weight[:, None] if column else weight
    actual = fidelity(teacher, student, (x, y, passed), batch_size=16)
    assert_equal(actual, expected(v, z, y, weight))


@pytest.mark.parametrize("one_hot", [False, True])
def test_time_steps_are_examples(one_hot):
    shape = (3, FEATURES)
    teacher, student = model(shape=shape), model(shape=shape)
    x, y = data(shape=shape)
    reference_value = expected(logits(teacher, x), logits(student, x), y)
    labels = np.eye(CLASSES)[y] if one_hot else y
    assert_equal(fidelity(teacher, student, (x, labels)), reference_value)


@pytest.mark.parametrize("per_step", [False, True])
def test_weights_of_time_steps(per_step):
    shape = (3, FEATURES)
    teacher, student = model(shape=shape), model(shape=shape)
    x, y = data(shape=shape)
    weight = np.arange(ROWS)[:, None] % 3 + np.zeros((1, 3), "int64")
    if per_step:
        weight = weight + np.arange(3)
    v, z = logits(teacher, x), logits(student, x)
    passed = weight if per_step else weight[:, 0]
    actual = fidelity(teacher, student, (x, y, passed))
    assert_equal(actual, expected(v, z, y, weight.ravel()))


def test_masked_steps_do_not_count():
    def masked():
        mask = layers.Masking()
        dense = layers.Dense(CLASSES, kernel_initializer="normal")
        return keras.Sequential([keras.Input((3, FEATURES)), mask, dense])

    teacher, student = masked(), masked()
    x, y = data(shape=(3, FEATURES))
    kept = np.arange(ROWS * 3).reshape(ROWS, 3) % 3 != 1
    x[~kept] = 0.0
    v, z = logits(teacher, x), logits(student, x)
    actual = fidelity(teacher, student, (x, y))
    assert_equal(actual, expected(v, z, y, kept.ravel()))
    weight = np.arange(ROWS) % 3
    both = (kept * weight[:, None]).ravel()
    actual = fidelity(teacher, student, (x, y, weight))
    assert_equal(actual, expected(v, z, y, both))


def test_a_model_agrees_with_itself():
    same = model()
    actual = fidelity(same, same, data())
    assert actual["agreement_at_1"] == actual["agreement_at_5"] == 1.0
    assert actual["kl_divergence"] == 0.0
    for name in ("accuracy", "nll", "ece"):
        assert actual[f"teacher_{name}"] == actual[f"student_{name}"]


def test_confident_mistakes_have_a_finite_divergence():
    teacher, student = model(), model()
    for some_model, sign in ((teacher, 1.0), (student, -1.0)):
        kernel = np.zeros((FEATURES, CLASSES))
        kernel[:, 0] = sign * 1e3
        some_model.layers[0].kernel.assign(kernel)
    x = np.ones((4, FEATURES))
    actual = fidelity(teacher, student, (x, np.zeros(4)))
    np.testing.assert_allclose(actual["student_nll"], 4e3 + np.log(9), 1e-6)
    np.testing.assert_allclose(actual["kl_divergence"], 4e3 + np.log(9), 1e-6)
    assert actual["student_accuracy"] == actual["agreement_at_1"] == 0.0
    assert actual["teacher_ece"] == 0.0


def test_a_student_of_nan_agrees_with_nothing():
    teacher, student = model(), model()
    student.layers[0].kernel.assign(np.full((FEATURES, CLASSES), np.nan))
    actual = fidelity(teacher, student, data())
    assert np.isnan(actual["kl_divergence"])
    assert actual["agreement_at_5"] == 0.0


# Kinds of models.


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_mixed_precision(policy):
    teacher, student = model(dtype=policy), model()
    x, y = data()
    actual = fidelity(teacher, student, (x, y))
    v = backend.to_numpy(ops.cast(teacher(x), "float32")).astype("float64")
    # Compiled code may round half precision at other places.
    assert_equal(actual, expected(v, logits(student, x), y), 2e-2)


class Subclassed(keras.Model):
    def __init__(self):
        super().__init__()
        self.dense = layers.Dense(CLASSES)

    def call(self, x):
        return self.dense(x)


def test_unbuilt_models():
    teacher, student = Subclassed(), Subclassed()
    x, y = data()
    actual = fidelity(teacher, student, (x, y))
    assert teacher.built and student.built
    assert_equal(actual, expected(logits(teacher, x), logits(student, x), y))


class OnHost(layers.Layer):
    """Reads values, which no compiled code can."""

    def __init__(self):
        super().__init__()
        self.supports_jit = False

    def call(self, x):
        return ops.convert_to_tensor(np.asarray(x))

    def compute_output_spec(self, x):
        return keras.KerasTensor(x.shape, x.dtype)


@pytest.mark.skipif(
    keras.backend.backend() != "jax",
    reason="of itself Keras compiles a step for a CPU on JAX alone",
)
@pytest.mark.parametrize("role", [0, 1], ids=["teacher", "student"])
def test_models_that_cannot_be_compiled(role):
    pair = [model(), model()]
    x, y = data()
    expected_value = fidelity(*pair, (x, y))
    pair[role].add(OnHost())
    assert_equal(fidelity(*pair, (x, y)), expected_value)


def test_an_ensemble_and_a_model_without_its_softmax():
    softmax = model(activation="softmax")
    teacher = kd.Ensemble([model(), kd.as_logits(softmax)])
    student = kd.as_logits(softmax)
    x, y = data()
    actual = fidelity(teacher, student, (x, y))
    assert_equal(actual, expected(logits(teacher, x), logits(student, x), y))


# Labels that do not exclude each other.


def labelled(units, rows=ROWS, shape=(FEATURES,)):
    x, _ = data(rows, shape)
    rng = np.random.default_rng(1)
    return x, rng.integers(0, 2, (rows, *shape[:-1], units))


def of_each_label(v, z, labels=None, weight=None):
    """The entries from their definitions, each label an example."""
    repeat = 1 if weight is None else np.ravel(weight).astype("int64")
    repeat = np.broadcast_to(repeat, len(v))
    p, q = (reference.sigmoid(np.repeat(r, repeat, 0)) for r in (v, z))
    entries = {
        "agreement_at_1": ((p > 0.5) == (q > 0.5)).mean(),
        "kl_divergence": reference.bernoulli_divergence(p, q).mean(),
    }
    if labels is None:
        return entries
    y = np.repeat(labels.reshape(v.shape), repeat, 0)
    for name, r in {"teacher": p, "student": q}.items():
        two = np.stack([1 - r, r], axis=-1).reshape(-1, 2)
        ece = reference.expected_calibration_error(two, y.ravel())
        entries[f"{name}_accuracy"] = ((r > 0.5) == y).mean()
        entries[f"{name}_nll"] = -np.log(np.where(y, r, 1 - r)).mean()
        entries[f"{name}_ece"] = ece
    return entries


@pytest.mark.parametrize("units", [1, 2, 5])
def test_every_entry_of_labels(units):
    teacher, student = model(units), model(units)
    x, y = labelled(units)
    expected_value = of_each_label(logits(teacher, x), logits(student, x), y)
    for given in (y, y.astype("bool"), y.astype("float32"), y[..., 0]):
        if units == 1 or given.ndim == 2:
            actual = fidelity(teacher, student, (x, given), kind="labels")
            assert_equal(actual, expected_value)


def test_the_likelihood_of_labels_is_the_loss_of_keras():
    teacher, (x, y) = model(3), labelled(3)
    loss = keras.losses.BinaryCrossentropy(from_logits=True)
    found = fidelity(teacher, teacher, (x, y), kind="labels")
    value = backend.to_numpy(loss(y.astype("float32"), teacher(x)))
    assert found["teacher_nll"] == pytest.approx(value, rel=1e-5)


def test_labels_of_time_steps_with_weights():
    shape = (3, FEATURES)
    teacher, student = model(2, shape), model(2, shape)
    x, y = labelled(2, shape=shape)
    weight = np.arange(ROWS * 3).reshape(ROWS, 3) % 4
    v, z = logits(teacher, x), logits(student, x)
    actual = fidelity(teacher, student, (x, y, weight), kind="labels")
    assert_equal(actual, of_each_label(v, z, y, weight))
    unlabelled = fidelity(teacher, student, (x,), kind="labels")
    assert_equal(unlabelled, of_each_label(v, z))


def test_an_ignored_label_leaves_the_others_of_its_example():
    teacher, student = model(2), model(2)
    x, y = labelled(2)
    y[::3, 1] = -1
    known = (y >= 0).ravel()
    v, z = (logits(m, x).reshape(-1, 1) for m in (teacher, student))
    actual = fidelity(teacher, student, (x, y), kind="labels", ignore_class=-1)
    expected_value = of_each_label(v, z, np.maximum(y, 0), known)
    expected_value |= of_each_label(v, z)
    assert_equal(actual, expected_value)


@pytest.mark.parametrize("bad", [2, -1, 0.5])
@pytest.mark.once
def test_a_label_that_is_neither_0_nor_1_is_refused(bad):
    x, y = labelled(2)
    y = y.astype("float32")
    y[3] = bad
    with pytest.raises(ValueError, match="must be 0 or 1 for .* 2 labels that"):
        fidelity(model(2), model(2), (x, y), kind="labels")


def test_labels_of_another_shape_are_refused():
    x, _ = data()
    with pytest.raises(ValueError, match="a label for each output unit"):
        fidelity(model(3), model(3), (x, np.zeros(ROWS)), kind="labels")


def test_sigmoid_heads_are_told_by_an_argument():
    with pytest.raises(ValueError, match="two units, or keep.*kind='labels'"):
        fidelity(model(1), model(1), labelled(1))
    sigmoid = model(2, activation="sigmoid")
    with pytest.raises(ValueError, match="pass kind='labels'"):
        fidelity(sigmoid, model(2), labelled(2))
    with pytest.raises(ValueError, match=r"kd.as_logits\(teacher\)"):
        fidelity(sigmoid, model(2), labelled(2), kind="labels")
    with pytest.raises(ValueError, match="Received: kind='sigmoid'"):
        fidelity(model(2), model(2), labelled(2), kind="sigmoid")
    ensemble = kd.Ensemble([model()], kind="labels")
    with pytest.raises(
        ValueError, match="logits of labels.*pass kind='labels'"
    ):
        fidelity(ensemble, model(), data())


@pytest.mark.parametrize("row", [[1, 1, 0], [0, 0, 0]], ids=["both", "none"])
@pytest.mark.parametrize("ignored", [None, -1])
def test_labels_that_do_not_exclude_each_other_are_no_classes(row, ignored):
    x, y = data(classes=3)
    y = np.eye(3, dtype="int32")[y]
    y[5] = row
    with pytest.raises(ValueError, match="kind='labels'.*1 labels that are"):
        fidelity(model(3), model(3), (x, y), ignore_class=ignored)
    weight = np.arange(ROWS) != 5
    found = fidelity(model(3), model(3), (x, y, weight), ignore_class=ignored)
    assert np.isfinite(list(found.values())).all()


def test_shares_of_classes_are_labels():
    x, y = data()
    y = 0.9 * np.eye(CLASSES)[y] + 0.1 / CLASSES
    first, second = model(), model()
    actual = fidelity(first, second, (x, y))
    assert actual == fidelity(first, second, (x, y.argmax(-1)))


def test_two_outputs_are_refused():
    with pytest.raises(ValueError, match=r"Model\(model.inputs, model.outputs"):
        fidelity(models.two_outputs(), model(), data())
