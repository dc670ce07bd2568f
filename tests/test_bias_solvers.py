"""The shifts of `kd.bias` without a model, against brute force and SciPy."""

import numpy as np
import pytest
import scipy.optimize
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import softmax

from keras_distill.bias import _solvers

pytestmark = pytest.mark.once

SOME = settings(deadline=None, max_examples=50, derandomize=True)
FEW = settings(deadline=None, max_examples=25, derandomize=True)
SEEDS = st.integers(0, 2**32 - 1)


def problem(seed, rows=12, classes=4, whole=False):
    """Logits, labels and weights, some of which are 0."""
    rng = np.random.default_rng(seed)
    size = (rows, classes)
    logits = rng.integers(-3, 4, size) if whole else 2 * rng.normal(size=size)
    weight = rng.integers(0, 4, rows).astype(float)
    weight[0] = 1.0
    return logits.astype(float), rng.integers(0, classes, rows), weight


def moved(logits, groups, shifts):
    result = np.array(logits, "float64")
    for group, shift in zip(groups, shifts, strict=True):
        for number in group:
            result[:, number] += shift
    return result


def right(data, groups, shifts):
    """The weight of the examples whose answer is right."""
    logits, labels, weight = data
    answers = moved(logits, groups, shifts).argmax(axis=-1)
    return weight[answers == labels].sum()


def intervals(data, group):
    """The intervals of one shift in which no answer changes, and their score.

    Between two neighbouring differences of a logit outside the group and one
    inside nothing changes; neighbours of one score are joined.
    """
    logits = data[0]
    others = [k for k in range(logits.shape[1]) if k not in group]
    places = {row[j] - row[k] for row in logits for j in others for k in group}
    ends = [-np.inf, *sorted(places), np.inf]
    found = []
    for low, high in zip(ends[:-1], ends[1:], strict=True):
        score = right(data, [group], [inner(low, high)])
        if found and found[-1][2] == score:
            low = found.pop()[0]
        found.append((low, high, score))
    return found


def inner(low, high):
    if np.isinf(low) and np.isinf(high):
        return 0.0
    if np.isinf(low):
        return high - 1
    return low + 1 if np.isinf(high) else (low + high) / 2


def one_group(data, group):
    start = np.zeros(1)
    shifts, score = _solvers.most_accurate(*data, [group], start)
    return float(shifts[0]), score


# Accuracy.


@SOME
@given(SEEDS, st.sampled_from([[0], [3], [1, 2]]))
def test_one_shift_is_the_middle_of_the_widest_best_interval(seed, group):
    data = problem(seed)
    found = intervals(data, group)
    best = max(score for _, _, score in found)
    shift, score = one_group(data, group)
    assert right(data, [group], [shift]) == score == best
    if right(data, [group], [0.0]) == best:
        assert shift == 0.0
        return
    ends = [(low, high) for low, high, score in found if score == best]
    low, high = max(ends, key=lambda pair: pair[1] - pair[0])
    assert shift == pytest.approx(inner(low, high), abs=1e-12)


def test_of_several_best_intervals_the_widest_is_taken():
    # Right answers come at 1, 4 and 5, and go at 2, 5 and 7.
    places, labels = np.array([1.0, 4, 5, 2, 5, 7]), np.repeat([1, 0], 3)
    data = np.stack([places, 0 * places], axis=1), labels, np.ones(6)
    assert one_group(data, [1]) == (5.5, 4.0)
    assert one_group(data, [0]) == (-5.5, 4.0)


@SOME
@given(SEEDS, st.sampled_from([[0], [3], [1, 2], [0, 3]]))
def test_one_shift_is_best_among_tied_logits(seed, group):
    data = problem(seed, whole=True)
    candidates = [inner(low, high) for low, high, _ in intervals(data, group)]
    best = max(right(data, [group], [c]) for c in [0.0, *candidates])
    shift, _ = one_group(data, group)
    assert right(data, [group], [shift]) == best


def test_a_tie_without_shift_is_resolved_as_argmax_does():
    # Class 0 wins the tie, and is wrong: it must be lowered.
    data = np.zeros((1, 2)), np.array([1]), np.ones(1)
    shift, score = one_group(data, [0])
    assert shift < 0 and score == 1


def test_no_shift_is_kept_where_its_ties_are_luck():
    # Both ties go well as they are, one goes wrong after any shift.
    logits = np.array([[0.0, 0, -9], [-9, 0, 0], [3, 0, -9]])
    data = logits, np.array([0, 1, 1]), np.array([1, 1, 0.5])
    shift, _ = one_group(data, [1])
    assert right(data, [[1]], [shift]) >= right(data, [[1]], [0.0])


@pytest.mark.parametrize("labels", [[0, 0, 3], [1, 2, 1]])
def test_labels_all_outside_or_all_inside_the_group(labels):
    logits = np.array([[0.0, 2, 1, -1], [3, 1, 0, 0], [0, 0, 2, 1]])
    data = logits, np.array(labels), np.ones(3)
    group = [1, 2]
    shift, score = one_group(data, group)
    best = max(score for _, _, score in intervals(data, group))
    assert right(data, [group], [shift]) == score == best


def test_examples_of_weight_0_do_not_count():
    logits, labels, _ = problem(5, rows=20)
    weight = np.repeat([1.0, 0.0], 10)
    whole = one_group((logits, labels, weight), [2])
    assert whole == one_group((logits[:10], labels[:10], np.ones(10)), [2])


@SOME
@given(SEEDS, st.sampled_from([[[0], [1], [2], [3]], [[0], [1, 3]]]))
def test_several_shifts_gain_as_much_as_any_of_them_alone(seed, groups):
    data = problem(seed)
    shifts, score = _solvers.most_accurate(*data, groups, np.zeros(len(groups)))
    assert right(data, groups, shifts) == score
    assert score >= right(data, groups, np.zeros(len(groups)))
    # No group can gain any more.
    at = moved(data[0], groups, shifts), *data[1:]
    for group in groups:
        assert score >= max(right for _, _, right in intervals(at, group))


# Likelihood.


def log_likelihood(data, groups, shifts):
    logits, labels, weight = data
    p = softmax(moved(logits, groups, shifts))
    return weight @ np.log(p[np.arange(len(p)), labels]) / weight.sum()


GROUPS = [[[1]], [[0, 2]], [[0], [1, 3]], [[0], [1], [2]], [[0, 1], [2, 3]]]


@pytest.mark.parametrize("groups", GROUPS)
def test_most_likely_shifts(groups):
    data = problem(1, rows=30)
    logits, labels, weight = data
    shifts = _solvers.most_likely(*data, groups)
    p = weight @ softmax(moved(logits, groups, shifts)) / weight.sum()
    for group in groups:
        share = weight[np.isin(labels, group)].sum() / weight.sum()
        np.testing.assert_allclose(p[group].sum(), share, rtol=0, atol=1e-9)
    best = log_likelihood(data, groups, shifts)
    covered = len(sum(groups, [])) == 4
    for step in [-0.01, 0.01, -1, 1] if len(groups) > 1 or not covered else []:
        for number in range(len(groups)):
            near = np.array(shifts)
            near[number] += step
            assert log_likelihood(data, groups, near) < best


@pytest.mark.parametrize("groups", GROUPS[:4])
def test_most_likely_shifts_are_those_of_scipy(groups):
    data = problem(2, rows=30)
    expected = scipy.optimize.minimize(
        lambda shifts: -log_likelihood(data, groups, shifts),
        np.zeros(len(groups)),
        tol=1e-8,
    )
    actual = _solvers.most_likely(*data, groups)
    np.testing.assert_allclose(actual, expected.x, rtol=0, atol=1e-5)


# Mean probabilities.


def assert_matches(logits, frequencies, weight=None):
    weight = np.ones(len(logits)) if weight is None else weight
    shifts = _solvers.matching(logits, weight, frequencies)
    z = logits + shifts
    p = softmax(z - z.max(axis=-1, keepdims=True))
    mean = weight @ p / weight.sum()
    np.testing.assert_allclose(mean, frequencies, rtol=0, atol=1e-9)
    assert abs(shifts.mean()) < 1e-9 * (1 + np.abs(shifts).max())
    return shifts


@FEW
@given(SEEDS, st.integers(2, 50), st.integers(1, 60), st.floats(0.1, 30))
def test_mean_probabilities_equal_the_frequencies(seed, classes, rows, scale):
    rng = np.random.default_rng(seed)
    logits = scale * rng.normal(size=(rows, classes))
    frequencies = 1e-4 + rng.dirichlet(np.ones(classes))
    weight = rng.uniform(0, 2, rows)
    assert_matches(logits, frequencies / frequencies.sum(), weight)


EXTREME = {
    "one row": [[1e4, 0.0, -1e4]],
    "confident": 1e4 * np.eye(3),
    "never": [[1e4, 0.0, 0.0]] * 3 + [[0.0, 1e4, 0.0]],
    "far up": [[1e4 + 1, 1e4, 1e4 - 2], [1e4, 1e4, 1e4]],
    "small and large": [[1.0, 0.0, 0.5], [-1e4, 0.0, 1e4]],
}


@pytest.mark.parametrize("logits", EXTREME.values(), ids=EXTREME)
@pytest.mark.parametrize("frequencies", [[0.5, 0.3, 0.2], [0.1, 0.1, 0.8]])
def test_extreme_logits(logits, frequencies):
    assert_matches(np.array(logits), np.array(frequencies))


@pytest.mark.parametrize("rare", [1e-8, 1e-12])
def test_a_frequency_near_0(rare):
    logits = np.random.default_rng(0).normal(size=(40, 3))
    frequencies = np.array([rare, 0.4, 0.6 - rare])
    shifts = assert_matches(logits, frequencies)
    mean = softmax(logits + shifts).mean(axis=0)
    np.testing.assert_allclose(mean[0], rare, rtol=0.01)


def test_one_example_has_a_closed_form():
    logits = np.array([[3.0, -2.0, 0.5]])
    frequencies = np.array([0.2, 0.7, 0.1])
    expected = np.log(frequencies) - logits[0]
    np.testing.assert_allclose(
        assert_matches(logits, frequencies), expected - expected.mean()
    )


def test_scipy_finds_the_same_shifts():
    rng = np.random.default_rng(3)
    logits, weight = 3 * rng.normal(size=(50, 4)), rng.uniform(size=50)
    frequencies = np.array([0.1, 0.2, 0.3, 0.4])

    def equations(free):
        p = softmax(logits + np.append(free, 0.0))
        return (weight @ p / weight.sum() - frequencies)[:3]

    expected = np.append(scipy.optimize.fsolve(equations, np.zeros(3)), 0.0)
    actual = assert_matches(logits, frequencies, weight)
    np.testing.assert_allclose(actual, expected - expected.mean(), atol=1e-6)


def test_a_bias_that_is_much_too_low_is_found():
    rng = np.random.default_rng(0)
    logits = 2 * rng.normal(size=(20_000, 5))
    p = softmax(logits)
    # An answer drawn from each distribution: the logits are calibrated.
    drawn = (p.cumsum(axis=-1) < rng.uniform(size=(len(p), 1))).sum(axis=-1)
    frequencies = np.bincount(drawn, minlength=5) / len(drawn)
    logits[:, 3] -= 3.5
    shifts = assert_matches(logits, frequencies)
    assert shifts[3] - shifts[[0, 1, 2, 4]].mean() == pytest.approx(
        3.5, abs=0.05
    )
    np.testing.assert_allclose(
        shifts[[0, 1, 2, 4]], shifts[[0, 1, 2, 4]].mean(), atol=0.05
    )


def test_too_few_steps_are_an_error(monkeypatch):
    monkeypatch.setattr(_solvers, "_STEPS", 2)
    with pytest.raises(ValueError, match="did not converge: after 2 steps"):
        assert_matches(problem(0)[0], np.array([0.97, 0.01, 0.01, 0.01]))
