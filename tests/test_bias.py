"""`kd.bias`: models with shifted logits, and shifts found on data."""

import keras
import models
import numpy as np
import pytest
import saving
from keras import layers
from last_layers import (
    ADDED,
    BIASED,
    dense,
    flags,
    inputs_of,
    nested,
    nested_body,
    outputs,
    sequential,
    shared_head,
    trained,
    with_state,
)
from reference import sigmoid, softmax

import keras_distill as kd
from keras_distill.bias import _solvers

# Keras on torch converts tensors in a way that NumPy 2 warns about.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation")
CLASSES = models.CLASSES


CASES = [pytest.param(make, False, id=name) for name, make in BIASED.items()]
CASES += [
    pytest.param(make, True, id=f"{name}, added")
    for name, make in ADDED.items()
]


@pytest.mark.parametrize("make, added", CASES)
def test_shifted_logits(make, added):
    model = make()
    before = models.snapshot(model), flags(model), outputs(model)
    copy = kd.bias.shift_bias(model, [[0, 2]], 2.5)
    models.assert_same(models.snapshot(model), before[0])
    assert flags(model) == before[1]

    # bfloat16 has 8 bits.
    low = "bfloat16" in {layer.compute_dtype for layer in model.layers}
    expected = before[2].copy()
    expected[..., [0, 2]] += 2.5
    tolerance = 0.03 if low else 1e-5
    actual = outputs(copy)
    np.testing.assert_allclose(actual, expected, rtol=0, atol=tolerance)
    assert type(copy) is type(model) and copy.name == model.name
    assert copy.outputs[0].dtype == model.outputs[0].dtype
    assert not {id(v) for v in copy.variables} & {
        id(v) for v in model.variables
    }
    assert len(copy.layers) == len(model.layers) + added
    ours, theirs = trained(copy), trained(model)
    assert {name: ours[name] for name in theirs} == theirs


SAVED = [with_state, models.linear, shared_head, nested]


@pytest.mark.parametrize("make", SAVED)
def test_shifted_models_are_saved_as_plain_keras_models(make, tmp_path):
    copy = kd.bias.shift_bias(make(), [1], -1.5)
    layers_of = copy._flatten_layers()
    assert all(
        type(layer).__module__.startswith("keras") for layer in layers_of
    )
    copy.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert type(loaded) is type(copy)
    models.assert_same([outputs(loaded)], [outputs(copy)])


def test_a_change_of_the_copy_leaves_the_original():
    model = with_state()
    before = models.snapshot(model)
    copy = kd.bias.shift_bias(model, [1], 1.0)
    for variable in copy.variables:
        variable.assign(np.full(variable.shape, 7))
    copy.trainable = False
    models.assert_same(models.snapshot(model), before)
    assert model.trainable and model.layers[-1].trainable


def test_frozen_models_stay_frozen():
    model = nested_body()
    assert not kd.bias.shift_bias(model, [1], 1.0).layers[0].trainable
    model.trainable = False
    assert not kd.bias.shift_bias(model, [1], 1.0).trainable


@pytest.mark.parametrize("make", [models.sequential, models.functional])
def test_the_result_is_not_compiled(make):
    model = make()
    model.compile("adam", models.CROSSENTROPY)
    copy = kd.bias.shift_bias(model, [1], 1.0)
    assert model.compiled and not copy.compiled


def test_a_shifted_model_can_be_shifted_again():
    x, _ = models.data()
    for make in (models.linear, models.sequential):
        model = make()
        expected = models.logits(model, x) + np.float32([0, -2, 5])
        once = kd.bias.shift_bias(model, None, [0, -3, 4])
        twice = kd.bias.shift_bias(once, [1, 2], 1)
        np.testing.assert_allclose(models.logits(twice, x), expected, atol=1e-5)


@pytest.mark.parametrize(
    "classes, amount, expected",
    [
        (2, 3.5, [0, 0, 3.5]),
        (np.int64(1), np.float32(2), [0, 2, 0]),
        ([0, 2], 3, [3, 0, 3]),
        (np.array([0, 2]), np.array([1.0, -2.0]), [1, 0, -2]),
        ([[0, 2], 1], [1, 2], [1, 2, 1]),
        (((2,), (1, 0)), (1.5, -1), [-1, -1, 1.5]),
        (range(1, 3), 4, [0, 4, 4]),
        (None, [1, 2, 3], [1, 2, 3]),
        (None, -1.0, [-1, -1, -1]),
    ],
)
def test_classes_groups_and_amounts(classes, amount, expected):
    copy = kd.bias.shift_bias(models.functional(), classes, amount)
    assert copy.layers[-1].bias.numpy().tolist() == expected


NO_CLASS = "class numbers from 0 to 2, or groups of them. Received: classes="
BAD_CLASSES = {
    "too high": (3, NO_CLASS),
    "negative": ([-1], NO_CLASS),
    "bool": ([True], NO_CLASS),
    "float": ([1.0], NO_CLASS),
    "text": ("1", NO_CLASS),
    "empty": ([], NO_CLASS),
    "empty group": ([0, []], NO_CLASS),
    "twice": ([1, [0, 1]], "must name each class once"),
}
BAD_AMOUNTS = {
    "too many": ([1, 2, 3], ValueError, r"one for each.*shape \(3,\) for 2"),
    "too few": ([1], ValueError, r"one for each.*shape \(1,\) for 2"),
    "nested": ([[1], [2]], ValueError, r"shape \(2, 1\) for 2 entries"),
    "NaN": (float("nan"), ValueError, "`amount` must be finite"),
    "infinity": ([0, np.inf], ValueError, "`amount` must be finite"),
    "text": ("1", TypeError, "`amount` must be a real number"),
    "bool": (True, TypeError, "`amount` must be a real number"),
    "None": ([1, None], TypeError, "`amount` must be a real number"),
}


@pytest.mark.parametrize("classes, text", BAD_CLASSES.values(), ids=BAD_CLASSES)
def test_bad_classes(classes, text):
    model, data = models.functional(), models.data()
    with pytest.raises(ValueError, match=text):
        kd.bias.shift_bias(model, classes, 1.0)
    with pytest.raises(ValueError, match=text):
        kd.bias.fit_bias(model, data, classes)


@pytest.mark.parametrize(
    "amount, error, text", BAD_AMOUNTS.values(), ids=BAD_AMOUNTS
)
def test_bad_amounts(amount, error, text):
    with pytest.raises(error, match=text):
        kd.bias.shift_bias(models.functional(), [0, 1], amount)


def shift(model):
    return kd.bias.shift_bias(model, [0], 1.0)


def fit(model):
    return kd.bias.fit_bias(model, models.data(), [0])


def match(model):
    return kd.bias.match_class_frequencies(model, models.data()[0], [1, 2, 3])


BAD_MODELS = {
    "function": (lambda: print, TypeError, "must be a keras.Model"),
    "class": (lambda: keras.Model, TypeError, "Pass an instance"),
    "softmax": (
        lambda: sequential(dense(activation="softmax")),
        ValueError,
        r"must end in logits.*kd.as_logits\(model\)",
    ),
    "sigmoid": (
        lambda: sequential(dense(activation="sigmoid")),
        ValueError,
        "last activation is a sigmoid",
    ),
    "two outputs": (models.two_outputs, ValueError, "Received: 2 outputs"),
}


@pytest.mark.parametrize("function", [shift, fit, match])
@pytest.mark.parametrize(
    "make, error, text", BAD_MODELS.values(), ids=BAD_MODELS
)
def test_bad_models(function, make, error, text):
    with pytest.raises(error, match=text):
        function(make())


@pytest.mark.parametrize("make", [models.Subclassed, models.unbuilt])
def test_only_shift_bias_needs_a_graph(make):
    with pytest.raises(ValueError, match="without symbolic outputs. Wrap a"):
        shift(make())
    assert fit(make()).shape == (1,)
    assert match(make()).shape == (3,)


def test_a_subclassed_model_can_be_wrapped():
    wrapped = sequential(saving.SubclassedStudent(4), shape=(8,))
    expected = models.logits(wrapped, saving.X) + np.float32([1, 0, 0])
    actual = models.logits(shift(wrapped), saving.X)
    np.testing.assert_allclose(actual, expected, atol=1e-5)


# Shifts found on data.


def identity(classes=CLASSES, shape=()):
    """A model whose logits are its inputs."""
    return sequential(layers.Identity(), shape=(*shape, classes))


def logits_and_labels(examples=40, seed=0):
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(examples, CLASSES)).astype("float32")
    return logits, rng.integers(0, CLASSES, examples)


def accuracy(logits, labels):
    return np.mean(np.argmax(logits, -1) == labels)


@pytest.mark.parametrize("classes", [1, [[0, 2]], [0, 1], None])
@pytest.mark.parametrize("objective", ["accuracy", "likelihood"])
def test_a_fitted_shift_helps_the_shifted_model(classes, objective):
    model, (x, y) = models.functional(), models.data(60)
    found = kd.bias.fit_bias(model, (x, y), classes, objective=objective)
    assert found.dtype == "float64"
    before = models.logits(model, x)
    after = models.logits(kd.bias.shift_bias(model, classes, found), x)
    if objective == "accuracy":
        assert accuracy(after, y) > accuracy(before, y)
        return
    mean = softmax(after).mean(axis=0)
    shares = np.bincount(y, minlength=CLASSES) / len(y)
    if classes != [[0, 2]]:
        number = 1 if classes == 1 else slice(0, 2)
        mean, shares = mean[number], shares[number]
    else:
        mean, shares = mean[1], shares[1]
    np.testing.assert_allclose(mean, shares, atol=1e-6)


@pytest.mark.parametrize("classes", [[0], [[0, 1]], [0, 1], None])
def test_no_shift_is_exactly_0(classes):
    # Weights of 0.1, whose sums differ by rounding.
    logits, _ = logits_and_labels(seed=2)
    weight = np.random.default_rng(0).choice([0.1, 0.2, 0.7], len(logits))
    data = logits, logits.argmax(axis=-1), weight
    found = kd.bias.fit_bias(identity(), data, classes)
    assert not found.any()


@pytest.mark.parametrize("seed", range(4))
def test_several_shifts_are_never_worse_than_none(seed):
    logits, labels = logits_and_labels(seed=seed)
    found = kd.bias.fit_bias(identity(), (logits, labels))
    assert abs(found.mean()) < 1e-12
    assert accuracy(logits + found, labels) > accuracy(logits, labels)
    pair = kd.bias.fit_bias(identity(), (logits, labels), [0, 1])
    shifted = logits + np.append(pair, 0.0)
    assert accuracy(shifted, labels) > accuracy(logits, labels)


def test_accuracy_needs_no_likelihood():
    """Logits for which the most likely shifts cannot be found."""
    logits = 1e4 * np.float32([[3, 2, 0], [3, 0, 2], [0, 2, 3], [3, 2, 1]])
    found = kd.bias.fit_bias(identity(), (logits, np.array([1, 2, 2, 0])))
    assert np.isfinite(found).all()


def test_the_accuracy_start_may_lack_a_likelihood(monkeypatch):
    """Where the likelihood fails to converge, the start from 0 is left."""
    monkeypatch.setattr(_solvers, "_STEPS", 1)
    logits, labels = logits_and_labels()
    found = kd.bias.fit_bias(identity(), (logits, labels), [0, 1])
    assert np.isfinite(found).all()


NO_MAXIMUM = {
    "never": ([0], [1, 2, 1, 2], "0% of the labels for the classes .0."),
    "always": ([[0, 1]], [0, 1, 1, 0], "100% of the labels"),
    "one of all": (None, [0, 1, 0, 1], "best shift is minus infinity"),
    # Class 2, which is not shifted, would have to go to minus infinity.
    "rest": ([0, 1], [0, 1, 0, 1], "The likelihood has no maximum"),
}


@pytest.mark.parametrize(
    "classes, labels, text", NO_MAXIMUM.values(), ids=NO_MAXIMUM
)
def test_a_likelihood_without_maximum(classes, labels, text):
    logits, _ = logits_and_labels(4)
    data = logits, np.array(labels)
    with pytest.raises(ValueError, match=text):
        kd.bias.fit_bias(identity(), data, classes, objective="likelihood")
    assert np.isfinite(kd.bias.fit_bias(identity(), data, classes)).all()


def test_several_shifts_start_from_the_likelihood_too():
    # From 0, no single shift gains more than 3 of 5 right answers.
    logits = [[1, 2, 4], [1, 2, 3], [-2, -4, -2], [-2, 3, 4], [-4, 0, 3]]
    logits = np.array(logits, "float32")
    labels = np.array([0, 2, 0, 1, 2])
    shifts = kd.bias.fit_bias(identity(), (logits, labels))
    assert np.sum((logits + shifts).argmax(axis=-1) == labels) == 4


def test_bad_arguments():
    data = models.data()
    with pytest.raises(ValueError, match="one of .*Received: objective='nll'"):
        kd.bias.fit_bias(identity(), data, objective="nll")
    with pytest.raises(ValueError, match="must leave a class out of the group"):
        kd.bias.fit_bias(models.functional(), data, [[0, 1, 2]])
    with pytest.raises(ValueError, match="`batch_size` must be a whole number"):
        kd.bias.fit_bias(models.functional(), data, batch_size=0)
    with pytest.raises(ValueError, match="`batch_size` must be a whole number"):
        kd.bias.match_class_frequencies(
            models.functional(), data[0], [1, 1, 1], batch_size=2.5
        )


FREQUENCIES = [0.2, 0.3, 0.5]


@pytest.mark.parametrize("make", [models.functional, with_state, models.tagger])
def test_the_shifted_model_predicts_the_frequencies(make):
    model = make()
    x = inputs_of(model)
    found = kd.bias.match_class_frequencies(model, x, FREQUENCIES, batch_size=3)
    assert found.shape == (3,) and found.dtype == "float64"
    assert abs(found.mean()) < 1e-12
    shifted = outputs(kd.bias.shift_bias(model, None, found))
    mean = softmax(shifted).reshape(-1, CLASSES).mean(axis=0)
    np.testing.assert_allclose(mean, FREQUENCIES, rtol=0, atol=1e-6)


def test_counts_are_frequencies():
    logits, _ = logits_and_labels()
    expected = kd.bias.match_class_frequencies(identity(), logits, FREQUENCIES)
    for same in ([20, 30, 50], np.array([2, 3, 5]), (0.02, 0.03, 0.05)):
        actual = kd.bias.match_class_frequencies(identity(), logits, same)
        np.testing.assert_allclose(actual, expected, atol=1e-12)


def test_the_frequencies_of_labels_give_the_most_likely_shifts():
    data = logits, labels = logits_and_labels()
    weight = np.linspace(0, 2, len(labels))
    counts = np.bincount(labels, weight)
    model, both = identity(), (logits, labels[::-1], weight)
    # Labels are ignored, weights are not.
    actual = kd.bias.match_class_frequencies(model, both, counts)
    expected = kd.bias.fit_bias(model, (*data, weight), objective="likelihood")
    np.testing.assert_allclose(actual, expected, atol=1e-9)


@pytest.mark.parametrize(
    "frequencies, text",
    [
        ([0.5, 0.5, 0], "positive finite numbers.*shift of minus infinity"),
        ([0.5, 0.6, -0.1], "positive finite numbers"),
        ([0.5, 0.5, float("nan")], "positive finite numbers"),
        ([0.5, 0.5, np.inf], "positive finite numbers"),
        ([], "positive finite numbers, one per class"),
        (0.5, "positive finite numbers, one per class"),
        ([[0.2, 0.3, 0.5]], "positive finite numbers, one per class"),
        ([0.5, 0.5], "Received: 2 for 3 classes"),
        ([1, 1, 1, 1], "Received: 4 for 3 classes"),
    ],
)
def test_bad_frequencies(frequencies, text):
    logits, _ = logits_and_labels()
    with pytest.raises(ValueError, match=text):
        kd.bias.match_class_frequencies(identity(), logits, frequencies)


# Labels that do not exclude each other.


def logits_and_binary_labels(units, seed=0):
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(60, units)).astype("float32")
    return logits, rng.integers(0, 2, (60, units))


@pytest.mark.parametrize("units", [1, CLASSES])
def test_the_most_likely_shifts_of_labels(units):
    x, y = logits_and_binary_labels(units)
    weight = np.arange(60.0) % 4
    model = identity(units)
    found = kd.bias.fit_bias(
        model, (x, y, weight), kind="labels", objective="likelihood"
    )
    shifted = kd.bias.shift_bias(model, None, found)
    mean = np.average(sigmoid(models.logits(shifted, x)), 0, weight)
    np.testing.assert_allclose(mean, np.average(y, 0, weight), atol=1e-6)


@pytest.mark.parametrize("units", [1, CLASSES])
def test_the_most_accurate_threshold_of_each_label(units):
    x, y = logits_and_binary_labels(units)
    found = kd.bias.fit_bias(identity(units), (x, y), kind="labels")
    for z, t, shift in zip(x.T, y.T, found, strict=True):
        right = [np.mean((z + b > 0) == t) for b in (shift, *(1e-6 - z))]
        assert right[0] == max(right)


def test_a_group_of_labels_has_one_shift():
    x, y = logits_and_binary_labels(CLASSES)
    fit = {"kind": "labels", "objective": "likelihood"}
    found = kd.bias.fit_bias(identity(), (x, y), [[0, 2], 1], **fit)
    joined = x[:, [0, 2]].reshape(-1, 1), y[:, [0, 2]].reshape(-1)
    expected = kd.bias.fit_bias(identity(1), joined, **fit)
    np.testing.assert_allclose(found[0], expected[0], 1e-9)


@pytest.mark.parametrize(
    "labels, text",
    [
        (np.zeros((60, CLASSES)), r"0% of 1 for the labels \[0\]"),
        (np.full((60, CLASSES), 2), "must be 0 or 1, one for each output unit"),
        (np.zeros(60), r"labels of shape \(60,\) and dtype float64"),
    ],
)
def test_bad_labels_of_labels(labels, text):
    x, _ = logits_and_binary_labels(CLASSES)
    with pytest.raises(ValueError, match=text):
        kd.bias.fit_bias(
            identity(), (x, labels), kind="labels", objective="likelihood"
        )


def test_sigmoid_heads_are_told_by_the_kind():
    x, y = logits_and_binary_labels(1)
    with pytest.raises(ValueError, match="two units, or keep.*kind='labels'"):
        kd.bias.fit_bias(identity(1), (x, y))
    with pytest.raises(ValueError, match="Received: kind='binary'"):
        kd.bias.fit_bias(identity(1), (x, y), kind="binary")
