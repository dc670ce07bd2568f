"""Fidelity: every entry against float64 NumPy, in one pass over any data."""

import backend
import keras
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
def test_forms_of_labels(convert):
    teacher, student = model(), model()
    x, y = data()
    actual = fidelity(teacher, student, (x, convert(y)))
    assert_equal(actual, expected(logits(teacher, x), logits(student, x), y))


@pytest.mark.parametrize("ignored", [-1, 255, 0])
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
