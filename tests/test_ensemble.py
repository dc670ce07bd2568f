"""Ensembles: the mean of the members in log space, and members left alone."""

import backend
import keras
import numpy as np
import pytest
import reference
from keras import layers, ops

import keras_distill as kd

CLASSES = 5
COMBINE = ["arithmetic", "geometric"]
each_combine = pytest.mark.parametrize("combine", COMBINE)


def batch(rows=6, features=4, dtype="float32"):
    x = np.random.default_rng(0).normal(size=(rows, features))
    return x.astype(dtype)


def linear(classes=CLASSES, **kwargs):
    dense = layers.Dense(classes, bias_initializer="normal", **kwargs)
    return keras.Sequential([keras.Input((4,)), dense])


def functional():
    inputs = keras.Input((4,))
    hidden = layers.Dense(3, "tanh")(inputs)
    return keras.Model(inputs, layers.Dense(CLASSES)(hidden))


class Subclassed(keras.Model):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.dense = layers.Dense(CLASSES)

    def call(self, x):
        return self.dense(x)


class Fixed(keras.Model):
    """Outputs the same logits for every example."""

    def __init__(self, logits, **kwargs):
        super().__init__(**kwargs)
        self.logits = logits

    def call(self, x):
        rows = ops.cast(ops.zeros((ops.shape(x)[0], 1)), self.compute_dtype)
        return rows + ops.cast(self.logits, self.compute_dtype)


def of_logits(logits, combine, weights=None, **kwargs):
    """The ensemble's output for members with the given logits, one row."""
    members = [Fixed(list(row), **kwargs) for row in logits]
    ensemble = kd.Ensemble(members, combine=combine, weights=weights)
    return backend.to_numpy(ensemble(batch(1)))[0]


def output(model, x=None):
    return backend.to_numpy(model(batch() if x is None else x))


def expected(member_logits, combine, weights):
    """[H] section 2, with weights, in float64 and from probabilities."""
    p = [reference.softmax(logits) for logits in member_logits]
    w = np.asarray(weights, "float64") / np.sum(weights)
    if combine == "geometric":
        return sum(a * np.log(b) for a, b in zip(w, p, strict=True))
    return np.log(sum(a * b for a, b in zip(w, p, strict=True)))


# The value.


@each_combine
@pytest.mark.parametrize("weights", [None, [1.0, 1.0, 1.0], [3, 0.5, 1e-3]])
def test_matches_the_equation(combine, weights):
    members = [linear() for _ in range(3)]
    actual = output(kd.Ensemble(members, combine=combine, weights=weights))
    logits = [output(member) for member in members]
    reference_value = expected(logits, combine, weights or [1, 1, 1])
    np.testing.assert_allclose(actual, reference_value, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("temperature", [1.0, 3.0])
@pytest.mark.parametrize(
    ("combine", "mean"),
    [
        ("arithmetic", reference.arithmetic_mean),
        ("geometric", reference.geometric_mean),
    ],
)
def test_softmax_is_the_mean_distribution(combine, mean, temperature):
    members = [linear(), functional()]
    logits = output(kd.Ensemble(members, combine=combine))
    p = mean([output(member) for member in members])
    tempered = reference.power_transform(p, 1.0 / temperature)
    actual = reference.softmax(logits, temperature)
    np.testing.assert_allclose(actual, tempered, atol=1e-6)


def test_geometric_mean_is_the_softmax_of_the_mean_logits():
    members = [linear() for _ in range(3)]
    actual = output(kd.Ensemble(members, combine="geometric"))
    mean = np.mean([output(member) for member in members], axis=0)
    np.testing.assert_allclose(
        reference.softmax(actual), reference.softmax(mean), atol=1e-6
    )


@each_combine
def test_one_member_is_its_log_softmax(combine):
    member = linear()
    actual = output(kd.Ensemble([member], combine=combine))
    log_p = np.log(reference.softmax(output(member)))
    np.testing.assert_allclose(actual, log_p, atol=1e-6)


@each_combine
def test_the_same_member_twice_is_the_member(combine):
    member = linear()
    twice = kd.Ensemble([member, member], combine=combine)
    log_p = np.log(reference.softmax(output(member)))
    np.testing.assert_allclose(output(twice), log_p, atol=1e-6)


@each_combine
def test_huge_logits_stay_finite(combine):
    logits = [[1e4, 0.0, -1e4], [1e4, -1e4, 0.0]]
    expected_logits = {
        "arithmetic": [0.0, -1e4 - np.log(2), -1e4 - np.log(2)],
        "geometric": [0.0, -1.5e4, -1.5e4],
    }[combine]
    actual = of_logits(logits, combine)
    np.testing.assert_allclose(actual, expected_logits, rtol=1e-6, atol=1e-6)


def test_members_that_disagree_completely():
    logits = [[200.0, -200.0, 0.0], [-200.0, 200.0, 0.0]]
    # A mean of softmaxes in float32 gives the third class log 0 = -inf.
    arithmetic = [-np.log(2), -np.log(2), -200.0]
    actual = of_logits(logits, "arithmetic")
    np.testing.assert_allclose(actual, arithmetic, rtol=1e-6)
    actual = of_logits(logits, "geometric")
    np.testing.assert_allclose(actual, [-200.0] * 3, rtol=1e-6)


@each_combine
def test_weights_count_up_to_a_factor(combine):
    members = [linear(), linear()]
    small = kd.Ensemble(members, combine=combine, weights=[1, 3])
    large = kd.Ensemble(members, combine=combine, weights=[250.0, 750.0])
    assert small.member_weights == large.member_weights == (0.25, 0.75)
    np.testing.assert_array_equal(output(small), output(large))


def test_weights_are_equal_by_default():
    assert kd.Ensemble([linear()] * 4).member_weights == (0.25,) * 4


def test_huge_weights_do_not_overflow():
    ensemble = kd.Ensemble([linear()] * 2, weights=[1e308, 1e308])
    assert ensemble.member_weights == (0.5, 0.5)


def test_nested_ensembles_are_one_weighted_ensemble():
    a, b, c = (linear() for _ in range(3))
    nested = kd.Ensemble([kd.Ensemble([a, b]), c], weights=[2, 1])
    np.testing.assert_allclose(
        output(nested), output(kd.Ensemble([a, b, c])), atol=1e-6
    )


@each_combine
@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "mixed_float16"])
def test_half_precision_members_give_float32(dtype, combine):
    logits = [[2.0, 0.0, -20.0], [1.0, -1.0, -30.0]]
    actual = of_logits(logits, combine, dtype=dtype)
    assert actual.dtype == "float32"
    reference_value = expected(logits, combine, [1, 1])
    np.testing.assert_allclose(actual, reference_value, atol=1e-5)


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_members_keep_their_own_policy(policy):
    member = linear(dtype=policy)
    assert output(kd.Ensemble([member, linear()])).dtype == "float32"
    dtype = keras.backend.standardize_dtype(member(batch()).dtype)
    assert dtype == policy.removeprefix("mixed_")


# Kinds of members and of inputs.


def test_all_kinds_of_members_together():
    members = [linear(), functional(), Subclassed(), kd.Ensemble([linear()])]
    ensemble = kd.Ensemble(members)
    logits = output(ensemble)
    assert members[2].built
    reference_value = expected(
        [output(m) for m in members], COMBINE[0], [1] * 4
    )
    np.testing.assert_allclose(logits, reference_value, atol=1e-5)


def test_unbuilt_members_are_built_by_the_first_call():
    member = keras.Sequential([layers.Dense(CLASSES)])
    ensemble = kd.Ensemble([member, Subclassed()])
    assert not ensemble.built
    assert output(ensemble).shape == (6, CLASSES)
    assert ensemble.built
    assert len(ensemble.variables) == 4


def test_members_made_logits_by_as_logits():
    softmax = keras.Sequential(
        [keras.Input((4,)), layers.Dense(CLASSES, "softmax")]
    )
    member = linear()
    ensemble = kd.Ensemble([kd.as_logits(softmax), member])
    p = (output(softmax) + reference.softmax(output(member))) / 2
    np.testing.assert_allclose(output(ensemble), np.log(p), atol=1e-5)


def test_float64_inputs():
    ensemble = kd.Ensemble([linear(), functional()])
    actual = output(ensemble, batch(dtype="float64"))
    assert actual.dtype == "float32"
    np.testing.assert_allclose(actual, output(ensemble), atol=1e-6)


def test_dict_inputs_and_time_steps():
    def member():
        inputs = {name: keras.Input((3, 4), name=name) for name in "ab"}
        joined = layers.Concatenate()([inputs["a"], inputs["b"]])
        return keras.Model(inputs, layers.Dense(CLASSES)(joined))

    members = [member(), member()]
    x = {"a": np.ones((2, 3, 4)), "b": np.zeros((2, 3, 4))}
    actual = output(kd.Ensemble(members), x)
    reference_value = expected(
        [output(m, x) for m in members], "arithmetic", [1, 1]
    )
    np.testing.assert_allclose(actual, reference_value, atol=1e-5)


# Labels that do not exclude each other.


def of_labels(logits, combine, weights=None):
    members = [Fixed(list(row)) for row in logits]
    made = kd.Ensemble(members, combine, weights, kind="labels")
    return backend.to_numpy(made(batch(1)))[0]


@each_combine
@pytest.mark.parametrize("weights", [None, [3, 0.5, 1e-3]])
@pytest.mark.parametrize("units", [1, CLASSES])
def test_the_mean_of_sigmoids(combine, weights, units):
    members = [linear(units) for _ in range(3)]
    made = kd.Ensemble(members, combine, weights, kind="labels")
    p = [reference.sigmoid(output(member)) for member in members]
    w = np.asarray(weights or [1, 1, 1]) / np.sum(weights or 3)
    mean = sum(a * b for a, b in zip(w, p, strict=True))
    if combine == "geometric":
        on, off = (
            np.prod([b**a for a, b in zip(w, q, strict=True)], axis=0)
            for q in (p, [1 - b for b in p])
        )
        mean = on / (on + off)
    found = reference.sigmoid(output(made))
    np.testing.assert_allclose(found, mean, atol=1e-6)


@each_combine
def test_one_unit_is_two_classes_of_which_one_has_the_logit_0(combine):
    logits = np.array([[3.0], [-1.0], [0.5]])
    two = np.concatenate([0 * logits, logits], axis=1)
    expected = np.diff(of_logits(two, combine))
    np.testing.assert_allclose(of_labels(logits, combine), expected, 1e-5)


def test_labels_without_doubt_stay_finite():
    logits = [[1e4, 200.0, 90.0], [1e4, -200.0, 80.0]]
    arithmetic = of_labels(logits, "arithmetic")
    # Half of exp(-90) and exp(-80) is the mean doubt about the third.
    doubt = np.log(2) - np.log(np.exp(-90) + np.exp(-80))
    np.testing.assert_allclose(arithmetic, [1e4, 0.0, doubt], 1e-5, 1e-5)
    geometric = of_labels(logits, "geometric")
    np.testing.assert_allclose(geometric, [1e4, 0.0, 85.0], 1e-5)


def test_the_kind_is_saved(tmp_path):
    made = kd.Ensemble([linear(), linear()], kind="labels")
    expected = output(made)
    made.save(tmp_path / "ensemble.keras")
    loaded = keras.saving.load_model(tmp_path / "ensemble.keras")
    assert loaded.kind == "labels"
    np.testing.assert_array_equal(output(loaded), expected)
    assert kd.Ensemble([linear()]).kind == "classes"


def test_members_that_end_in_a_sigmoid_become_logits():
    sigmoid = linear(activation="sigmoid")
    with pytest.raises(ValueError, match=r"kd.as_logits\(members\[0\]\)"):
        kd.Ensemble([sigmoid], kind="labels")
    made = kd.Ensemble([kd.as_logits(sigmoid), linear()], kind="labels")
    assert output(made).shape == (6, CLASSES)
    with pytest.raises(ValueError, match="pass kind='labels'"):
        kd.Ensemble([sigmoid])
    with pytest.raises(ValueError, match="two units, or keep.*kind='labels'"):
        kd.Ensemble([linear(1)])
