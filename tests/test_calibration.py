"""`kd.bias`: logits scaled, and the temperature that is best on data."""

import keras
import last_layers
import models
import numpy as np
import pytest
from keras import layers
from reference import sigmoid, softmax

import keras_distill as kd

# Keras on torch converts tensors in a way that NumPy 2 warns about.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation")
CLASSES = models.CLASSES


def quantised():
    model = last_layers.sequential(last_layers.dense())
    model.layers[-1].quantize("int8")
    return model


def low_rank():
    model = last_layers.sequential(last_layers.dense())
    model.layers[-1].enable_lora(2)
    model.layers[-1].lora_kernel_b.assign(np.ones((2, CLASSES)))
    return model


MADE = {**last_layers.BIASED, **last_layers.ADDED}
# A factor needs no bias; these have no kernel of floats that is all of it.
ADDED = {"tanh", "shared head", "nested"}
CASES = [
    *[pytest.param(make, n in ADDED, id=n) for n, make in MADE.items()],
    pytest.param(quantised, True, id="quantised"),
    pytest.param(low_rank, True, id="low rank"),
]


@pytest.mark.parametrize("make, added", CASES)
def test_scaled_logits(make, added):
    model = make()
    before, expected = models.snapshot(model), last_layers.outputs(model)
    copy = kd.bias.scale_logits(model, 0.4)
    models.assert_same(models.snapshot(model), before)
    # bfloat16 has 8 bits.
    low = "bfloat16" in {layer.compute_dtype for layer in model.layers}
    found = last_layers.outputs(copy)
    tolerance = 0.03 if low else 1e-5
    np.testing.assert_allclose(found, 0.4 * expected, 0, tolerance)
    assert type(copy) is type(model) and copy.name == model.name
    assert copy.outputs[0].dtype == model.outputs[0].dtype
    shared = {id(v) for v in copy.variables} & {id(v) for v in model.variables}
    assert not shared
    assert len(copy.layers) == len(model.layers) + added


@pytest.mark.parametrize("make", [models.linear, last_layers.nested])
def test_a_scaled_model_is_saved_as_a_plain_keras_model(make, tmp_path):
    copy = kd.bias.scale_logits(make(), 2.0)
    copy.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert type(loaded) is type(copy)
    found = [last_layers.outputs(loaded)], [last_layers.outputs(copy)]
    models.assert_same(*found)


@pytest.mark.parametrize(
    "factor, error, text",
    [
        (0, ValueError, "above 0. Received: factor=0"),
        (-1.0, ValueError, "above 0. Received: factor=-1"),
        (float("inf"), ValueError, "finite"),
        ("2", TypeError, "number"),
    ],
)
def test_bad_factors(factor, error, text):
    with pytest.raises(error, match=text):
        kd.bias.scale_logits(models.linear(), factor)


# The temperature.


def identity(units=CLASSES):
    return last_layers.sequential(layers.Identity(), shape=(units,))


def examples(count=200, true=1.0, seed=0):
    """Logits, and labels drawn from their softmax at a temperature."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 2, (count, CLASSES)).astype("float32")
    chances = softmax(logits.astype("float64") / true)
    labels = [rng.choice(CLASSES, p=row) for row in chances]
    return logits, np.array(labels)


def loss(logits, labels, temperature, weight=None):
    p = softmax(np.asarray(logits, "float64") / temperature)
    return np.average(-np.log(p[np.arange(len(p)), labels]), weights=weight)


def best(logits, labels, weight=None):
    """The same minimum by a method that knows nothing of derivatives."""
    from scipy.optimize import minimize_scalar

    found = minimize_scalar(
        lambda log: loss(logits, labels, np.exp(log), weight),
        bracket=(-1.0, 1.0),
        tol=1e-10,
    )
    return np.exp(found.x)


@pytest.mark.parametrize("true", [0.05, 0.5, 1.0, 3.0, 20.0])
def test_it_is_where_the_likelihood_is_highest(true):
    logits, labels = examples(true=true)
    found = kd.bias.fit_temperature(identity(), (logits, labels))
    # A loss that is flat at its minimum tells half the digits of its place.
    assert found == pytest.approx(best(logits, labels), rel=1e-6)


def test_many_examples_tell_the_temperature_that_they_have():
    data = examples(count=20_000, true=2.0)
    assert kd.bias.fit_temperature(identity(), data) == pytest.approx(2, 0.05)


@pytest.mark.parametrize("factor", [1e-4, 1e-2, 1e2, 1e4])
def test_it_grows_with_the_logits(factor):
    logits, labels = examples()
    logits = logits.astype("float64").astype("float32")
    plain = kd.bias.fit_temperature(identity(), (logits, labels))
    scaled = np.float32(factor) * logits
    found = kd.bias.fit_temperature(identity(), (scaled, labels))
    assert found == pytest.approx(factor * plain, rel=1e-6)


def test_what_is_added_to_all_logits_changes_nothing():
    logits, labels = examples()
    logits = np.round(16 * logits) / 16
    shift = np.float32(1024) * np.arange(len(logits))[:, None] / 4
    found, plain = (
        kd.bias.fit_temperature(identity(), (z, labels))
        for z in (logits + shift.astype("float32"), logits)
    )
    assert found == pytest.approx(plain, rel=1e-9)


def test_a_scaled_model_is_calibrated():
    logits, labels = examples(true=3.0)
    temperature = kd.bias.fit_temperature(identity(), (logits, labels))
    scaled = kd.bias.scale_logits(identity(), 1 / temperature)
    again = kd.bias.fit_temperature(scaled, (logits, labels))
    assert again == pytest.approx(1, rel=1e-6)


def test_weights_count_examples():
    logits, labels = examples(count=60)
    weight = np.arange(60) % 3
    rows = np.repeat(np.arange(60), weight)
    repeated = kd.bias.fit_temperature(identity(), (logits[rows], labels[rows]))
    data = logits, labels, weight.astype("float32")
    found = kd.bias.fit_temperature(identity(), data, batch_size=7)
    assert found == pytest.approx(repeated, rel=1e-9)


def test_a_label_is_a_problem_of_two_classes():
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 3, (100, 4)).astype("float32")
    labels = (rng.random((100, 4)) < sigmoid(logits / 2)).astype("int32")
    found = kd.bias.fit_temperature(
        identity(4), (logits, labels), kind="labels"
    )
    pairs = np.stack([np.zeros(400), logits.ravel()], axis=1)
    assert found == pytest.approx(best(pairs, labels.ravel()), rel=1e-6)


def test_positions_of_a_sequence_are_examples():
    logits, labels = examples(count=60)
    tagger = last_layers.sequential(layers.Identity(), shape=(5, CLASSES))
    data = logits.reshape(12, 5, CLASSES), labels.reshape(12, 5)
    found = kd.bias.fit_temperature(tagger, data)
    plain = kd.bias.fit_temperature(identity(), (logits, labels))
    assert found == pytest.approx(plain, rel=1e-9)


@pytest.mark.parametrize("gap", [1e-6, 1e-3, 2.0])
def test_a_hair_of_evidence_is_enough(gap):
    """One wrong label in a hundred, or one right label more than by chance."""
    logits = gap * np.eye(2, dtype="float32")[np.zeros(200, int)]
    wrong = np.arange(200) < 1
    found = kd.bias.fit_temperature(identity(2), (logits, wrong.astype(int)))
    assert found == pytest.approx(gap / np.log(199), rel=1e-6)
    half = (np.arange(200) < 99).astype(int)
    found = kd.bias.fit_temperature(identity(2), (logits, half))
    assert found == pytest.approx(gap / np.log(101 / 99), rel=1e-6)


@pytest.mark.parametrize(
    "logits, labels, text",
    [
        ([[2.0, 0.0], [0.0, 2.0]], [0, 1], "right on all examples"),
        ([[2.0, 2.0], [0.0, 2.0]], [0, 1], "right on all examples"),
        ([[2.0, 0.0], [2.0, 0.0]], [0, 1], "equal probabilities"),
        ([[2.0, 0.0], [0.0, 2.0]], [1, 0], "equal probabilities"),
        ([[1.0, 1.0], [3.0, 3.0]], [0, 1], "must differ"),
        # By chance but for what rounding leaves.
        (np.eye(10) * 0.1, (3 + np.arange(10)) % 10, "equal probabilities"),
        (
            np.tile(np.arange(7) / 3, (7, 1)),
            np.arange(7),
            "equal probabilities",
        ),
    ],
)
def test_no_temperature_is_the_best(logits, labels, text):
    data = np.array(logits, "float32"), np.array(labels)
    with pytest.raises(ValueError, match=text):
        kd.bias.fit_temperature(identity(data[0].shape[-1]), data)


def test_bad_data():
    logits, labels = examples(count=8)
    with pytest.raises(ValueError, match="must have labels"):
        kd.bias.fit_temperature(identity(), logits)
    with pytest.raises(ValueError, match="`kind` must be"):
        kd.bias.fit_temperature(identity(), (logits, labels), kind="values")
    with pytest.raises(ValueError, match="kd.as_logits"):
        softened = last_layers.sequential(layers.Softmax(), shape=(CLASSES,))
        kd.bias.fit_temperature(softened, (logits, labels))
