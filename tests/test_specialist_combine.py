"""Eq. (5) of Hinton et al. 2015 solved: against the paper's own method.

The check of every case is the gradient of the paper's objective, which is 0 at
the solution: the problem is convex. Gradient descent, as the paper does it,
finds the same `q` where it converges. It does not where the probabilities of
one image differ by many powers of ten, so there the gradient alone is checked.
"""

import functools
from typing import NamedTuple

import backend
import keras
import numpy as np
import pytest
import reference
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops

import keras_distill as kd

combine_logits = kd.specialists.combine_logits
# Keras on torch converts tensors in a way that NumPy 2 warns about.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation")


class Layout(NamedTuple):
    """How many classes, whose sets, and which models have a full softmax."""

    classes: int
    sets: list
    n: int = 1
    full: tuple = ()

    def width(self, m):
        return self.classes if m in self.full else len(self.sets[m]) + 1


def random_sets(classes, size, count):
    rng = np.random.default_rng(5)
    return [rng.permutation(classes)[:size].tolist() for _ in range(count)]


LAYOUTS = {
    "overlapping": Layout(12, [[0, 1, 2, 3], [5, 3, 2, 4], [3, 6, 7]]),
    "disjoint": Layout(12, [[8, 0, 1, 2], [4, 5], [6, 7, 9]], n=3),
    "identical": Layout(8, [[0, 1, 2, 3]] * 3, n=2),
    "two classes": Layout(2, [[0], [1]], n=2),
    "all but one class": Layout(
        6, [[j for j in range(6) if j != m] for m in range(5)], n=2
    ),
    "full softmax": Layout(
        9, [[0, 1, 2], [1, 2, 3], [2, 3, 4, 5], [3, 4]], n=3, full=(1, 2)
    ),
    "1000 classes": Layout(1000, random_sets(1000, 100, 12), n=3),
}
SMALL = [name for name in LAYOUTS if name != "1000 classes"]
ROWS_OF_A_KIND = 4
# The spread of the logits in nats, and a dustbin's mass or who is sure.
KINDS = {
    "flat": (0.01, None),  # Not 0: which of equal classes is first is free.
    "soft": (1.0, None),
    "dustbin 1e-6": (2.0, 1e-6),
    "dustbin 1e-12": (2.0, 1e-12),
    "dustbin 1e-30": (2.0, 1e-30),
    "dustbin 1 - 1e-6": (2.0, 1 - 1e-6),
    "specialists are sure": (2.0, "specialists"),
    "generalist is sure": (2.0, "generalist"),
    "peaked": (5.0, None),
    "more peaked": (10.0, None),
}


def sure(rng, logits):
    chosen = rng.integers(0, logits.shape[1], len(logits))
    logits[np.arange(len(logits)), chosen] += 40


def with_dustbin(logits, mass):
    others = np.log(np.exp(logits[:, :-1]).sum(axis=1))
    logits[:, -1] = others + np.log(mass) - np.log1p(-mass)


def of_kind(rng, layout, kind, rows=ROWS_OF_A_KIND):
    """Logits of the generalist, then those of each specialist."""
    spread, extra = KINDS[kind]
    widths = [layout.classes]
    widths += [layout.width(m) for m in range(len(layout.sets))]
    parts = [rng.normal(size=(rows, width)) * spread for width in widths]
    if extra == "generalist":
        sure(rng, parts[0])
    for m, part in enumerate(parts[1:]):
        if extra == "specialists":
            sure(rng, part)
        elif extra and extra != "generalist" and m not in layout.full:
            with_dustbin(part, extra)
    return [part.astype("float32") for part in parts]


def of_all_kinds(layout, seed):
    rng = np.random.default_rng(seed)
    kinds = [of_kind(rng, layout, kind) for kind in KINDS]
    return [np.concatenate(parts) for parts in zip(*kinds, strict=True)]


def spread_out(layout, seed, spread):
    """As many rows as there are of all kinds, which saves a compilation."""
    logits = of_all_kinds(layout, 0)
    rng = np.random.default_rng(seed)
    noise = [rng.normal(size=part.shape) for part in logits]
    return [(spread * part).astype("float32") for part in noise]


@functools.cache
def compiled(name):
    layout = LAYOUTS[name]
    return backend.compiled(
        lambda g, *s: combine_logits(g, s, layout.sets, layout.n)
    )


def combined(name, logits):
    """`log q` in float64."""
    tensors = [ops.convert_to_tensor(part) for part in logits]
    return backend.to_numpy(compiled(name)(*tensors)).astype("float64")


def probabilities(logits):
    logits = logits.astype("float64")
    return reference.softmax(logits - logits.max())


def problem(layout, logits, row):
    """The generalist's distribution, and the active specialists with theirs."""
    g, *specialists = (part[row] for part in logits)
    top = set(np.argsort(-g, kind="stable")[: layout.n].tolist())
    active = [
        (None if m in layout.full else classes, probabilities(part))
        for m, (classes, part) in enumerate(
            zip(layout.sets, specialists, strict=True)
        )
        if top & set(classes)
    ]
    return probabilities(g), active


def residual(layout, logits, log_q):
    """The largest gradient of eq. (5) in each row."""
    return np.array(
        [
            np.abs(
                reference.combination_gradient(q, *problem(layout, logits, row))
            ).max()
            for row, q in enumerate(np.exp(log_q))
        ]
    )


def active_count(layout, logits):
    rows = range(len(logits[0]))
    return np.array([len(problem(layout, logits, row)[1]) for row in rows])


# The value.


@pytest.mark.parametrize("name", LAYOUTS)
@settings(deadline=None, max_examples=5, derandomize=True)
@given(seed=st.integers(0, 2**32 - 1))
def test_the_gradient_is_0(name, seed):
    logits = of_all_kinds(LAYOUTS[name], seed)
    log_q = combined(name, logits)
    np.testing.assert_allclose(np.exp(log_q).sum(axis=1), 1, atol=1e-6)
    assert residual(LAYOUTS[name], logits, log_q).max() < 1e-6


def converged(q, *parts):
    """Whether the gradient is small even against the smallest `q`.

    It bounds how far the objective is above its least value.
    """
    return (np.abs(reference.combination_gradient(q, *parts)) / q).max() < 1e-8


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.once
def test_equals_gradient_descent(name):
    layout = LAYOUTS[name]
    logits = of_all_kinds(layout, seed=1)
    q = np.exp(combined(name, logits))
    rows = range(ROWS_OF_A_KIND * list(KINDS).index("generalist is sure"))
    compared = 0
    for row in rows:
        parts = problem(layout, logits, row)
        expected = reference.combined(*parts)
        if converged(expected, *parts):
            np.testing.assert_allclose(q[row], expected, atol=1e-6)
            compared += 1
    assert compared >= 0.75 * len(rows)


@pytest.mark.parametrize("how", ["eager", "compiled"])
def test_a_case_computed_by_hand(how):
    # Special classes 0 | 1, each with the dustbin of the two others. By
    # symmetry q = (a, a, 1 - 2a), and the gradient is 0 where 3a = 0.4 + s +
    # (1 - s) a / (1 - a), for the mass s of the special class. With s = 0.25,
    # 3a^2 - 2.9a + 0.65 = 0, and a = (2.9 - sqrt(2.9^2 - 7.8)) / 6.
    a = (2.9 - np.sqrt(0.61)) / 6
    g = np.log([[0.4, 0.4, 0.2]] * 2)
    s = np.log([[0.25, 0.75]] * 2)

    def run(g, s):
        return combine_logits(g, [s, s], [[0], [1]], n=2)

    run = run if how == "eager" else backend.compiled(run)
    inputs = [ops.convert_to_tensor(part.astype("float32")) for part in (g, s)]
    q = np.exp(backend.to_numpy(run(*inputs)))
    np.testing.assert_allclose(q, [[a, a, 1 - 2 * a]] * 2, atol=1e-6)


@pytest.mark.parametrize("name", ["overlapping", "disjoint"])
def test_without_active_specialist_it_is_the_generalist(name):
    layout = LAYOUTS[name]
    logits = of_all_kinds(layout, seed=2)
    free = np.setdiff1d(np.arange(layout.classes), sum(layout.sets, []))
    free = free if layout.n <= len(free) else np.r_[free, 10, 11]
    logits[0][:, free] += 80
    alone = active_count(layout, logits) == 0
    assert alone.all() or layout.n > len(set(free.tolist()))
    expected = logits[0].astype("float64")
    expected -= np.log(np.exp(expected).sum(axis=1, keepdims=True))
    np.testing.assert_allclose(
        combined(name, logits)[alone], expected[alone], rtol=1e-6, atol=1e-5
    )


def closed_form(p, classes, p_m):
    q = p / 2
    outside = np.setdiff1d(np.arange(len(p)), classes)
    q[classes] += p_m[:-1] / 2
    q[outside] *= 1 + p_m[-1] / p[outside].sum()
    return q


def test_one_active_specialist_has_a_closed_form():
    layout = LAYOUTS["overlapping"]
    logits = of_all_kinds(layout, seed=3)
    log_q = combined("overlapping", logits)
    one = np.flatnonzero(active_count(layout, logits) == 1)
    assert len(one) >= 5
    for row in one:
        p, ((classes, p_m),) = problem(layout, logits, row)
        expected = np.log(closed_form(p, classes, p_m))
        np.testing.assert_allclose(log_q[row], expected, rtol=1e-6, atol=2e-6)


def test_identical_sets_have_a_closed_form():
    layout = LAYOUTS["identical"]
    logits = of_all_kinds(layout, seed=4)
    q = np.exp(combined("identical", logits))
    counts = active_count(layout, logits)
    assert (counts == 3).sum() >= 20
    for row in np.flatnonzero(counts):
        p, active = problem(layout, logits, row)
        mean = sum(p_m for _, p_m in active) / 3
        expected = p / 4 + np.append(mean[:-1], [0] * 4) * 3 / 4
        expected[4:] *= 1 + 3 * mean[-1] / p[4:].sum()
        np.testing.assert_allclose(q[row], expected, atol=1e-6)


# Extreme logits.


@pytest.mark.parametrize("spread", [30.0, 300.0])
@pytest.mark.parametrize("name", LAYOUTS)
def test_logits_of_hundreds_of_nats(name, spread):
    for seed in range(3):
        log_q = combined(name, spread_out(LAYOUTS[name], seed, spread))
        assert np.isfinite(log_q).all()
        np.testing.assert_allclose(np.exp(log_q).sum(axis=1), 1, atol=1e-6)


def sure_against_dustbins(name, nats):
    """The generalist is sure of class 0, every specialist of its dustbin.

    Gives the first row of `q` and, for a set of the classes 0 to 3, the shares
    of all other classes in the generalist's distribution.
    """
    layout = LAYOUTS[name]
    rng = np.random.default_rng(0)
    g = rng.normal(size=layout.classes)
    shares = reference.softmax(g.astype("float32")[4:])
    g[0] += nats
    rows = len(of_all_kinds(layout, 0)[0])
    logits = [g]
    for m in range(len(layout.sets)):
        logits.append(np.append(np.zeros(layout.width(m) - 1), nats + 0.77))
    parts = [part[None].repeat(rows, 0).astype("float32") for part in logits]
    return np.exp(combined(name, parts))[0], shares


@pytest.mark.parametrize("nats", [30.0, 90.0, 300.0])
@pytest.mark.parametrize(
    ("name", "count"), [("overlapping", 1), ("identical", 3)]
)
def test_dustbins_against_a_sure_generalist(name, count, nats):
    q, shares = sure_against_dustbins(name, nats)
    expected = np.r_[1, 0, 0, 0, count * shares] / (1 + count)
    # A float32 logarithm of -300 is off by up to 1.5e-5.
    np.testing.assert_allclose(q, expected, atol=max(1e-6, 5e-8 * nats))


def test_what_inactive_specialists_say_does_not_matter():
    layout = LAYOUTS["overlapping"]
    logits = of_all_kinds(layout, seed=5)
    before = combined("overlapping", logits)
    for m, classes in enumerate(layout.sets):
        top = logits[0].argmax(axis=1)
        logits[1 + m][~np.isin(top, classes)] = np.nan
    np.testing.assert_array_equal(combined("overlapping", logits), before)


# What must not change the result.


def test_a_constant_added_to_logits():
    logits = of_all_kinds(LAYOUTS["full softmax"], seed=6)
    shifted = [part + 2.0**m for m, part in enumerate(logits)]
    rounded = [part - 2.0**m for m, part in enumerate(shifted)]
    actual = np.exp(combined("full softmax", shifted))
    expected = np.exp(combined("full softmax", rounded))
    np.testing.assert_allclose(actual, expected, atol=1e-6)


def test_the_order_of_classes_and_of_specialists():
    layout = LAYOUTS["overlapping"]
    g, *specialists = of_all_kinds(layout, seed=7)
    rng = np.random.default_rng(0)
    order, models = rng.permutation(12), [2, 0, 1]
    place = np.argsort(order)
    sets, parts = [], []
    for m in models:
        turn = rng.permutation(len(layout.sets[m]))
        sets.append([int(place[layout.sets[m][k]]) for k in turn])
        parts.append(specialists[m][:, [*turn, -1]])
    run = backend.compiled(lambda g, *s: combine_logits(g, s, sets))
    inputs = [ops.convert_to_tensor(part) for part in (g[:, order], *parts)]
    actual = np.exp(backend.to_numpy(run(*inputs)))
    expected = np.exp(combined("overlapping", [g, *specialists]))
    np.testing.assert_allclose(actual, expected[:, order], atol=1e-6)


# Precision, and how it is run.


def test_half_precision_gives_the_float32_result():
    layout = LAYOUTS["overlapping"]
    logits = of_all_kinds(layout, seed=8)
    dtypes = ["float16", "bfloat16", "float16", "bfloat16"]
    pairs = zip(logits, dtypes, strict=True)
    half = [ops.cast(part, dtype) for part, dtype in pairs]
    actual = compiled("overlapping")(*half)
    assert keras.backend.standardize_dtype(actual.dtype) == "float32"
    rounded = [backend.to_numpy(ops.cast(part, "float32")) for part in half]
    expected = combined("overlapping", rounded)
    np.testing.assert_allclose(
        np.exp(backend.to_numpy(actual)), np.exp(expected), atol=1e-6
    )


class Combined(keras.layers.Layer):
    def call(self, logits):
        return combine_logits(logits[0], logits[1:], LAYOUTS["identical"].sets)


def test_inside_of_a_model():
    layout = LAYOUTS["identical"]._replace(n=1)
    logits = of_all_kinds(layout, seed=10)
    inputs = [keras.Input((part.shape[1],)) for part in logits]
    model = keras.Model(inputs, Combined()(inputs))
    assert model.output_shape == (None, 8)
    log_q = model.predict(logits, batch_size=64, verbose=0)
    log_q = log_q.astype("float64")
    assert residual(layout, logits, log_q).max() < 1e-6


def test_models_with_a_full_softmax_alone_give_the_mean():
    rng = np.random.default_rng(0)
    parts = [rng.normal(size=(5, 6)) * 3 for _ in range(3)]
    log_q = combine_logits(parts[0], parts[1:], [[0, 1, 2], [2, 3, 4]], n=6)
    mean = reference.arithmetic_mean(parts)
    np.testing.assert_allclose(np.exp(backend.to_numpy(log_q)), mean, atol=1e-6)


# Errors.

Z = np.zeros((2, 4), "float32")


@pytest.mark.parametrize(
    ("specialists", "sets", "n", "text"),
    [
        ([Z[:, :3]], [[0, 4]], 1, r"class_sets\[0\].* below 4.*\[0, 4\]"),
        ([Z[:, :3]], [[0, -1]], 1, r"class_sets\[0\].* must be a list"),
        ([Z[:, :3]], [[0, 1.5]], 1, r"class_sets\[0\].* must be a list"),
        ([Z[:, :3]], [[True, 1]], 1, r"class_sets\[0\].* must be a list"),
        ([Z[:, :1]], [[]], 1, r"class_sets\[0\].* must be a list"),
        ([Z[:, :3]], [0, 1], 1, r"class_sets\[0\].* must be a list"),
        ([Z[:, :3]], [[1, 1]], 1, "name each class once"),
        ([Z], [[0, 1, 2, 3]], 1, "at least one for the dustbin"),
        ([Z[:, :3]] * 2, [[0, 1], [1, 1]], 1, r"class_sets\[1\]"),
        ([Z[:, :3]], [[0, 1], [1, 2]], 1, "2 sets for 1 specialists"),
        ([Z[:, :3]], [], 1, "0 sets for 1 specialists"),
        ([Z[:, :2]], [[0, 1]], 1, "must have 3 logits.*of the 4 classes"),
        ([Z[:, :3]], [[0, 1]], 0, "`n` must be a whole number of at least 1"),
        ([Z[:, :3]], [[0, 1]], 1.5, "`n` must be a whole number"),
        ([Z[:, :3]], [[0, 1]], True, "`n` must be a whole number"),
        ([Z[:, :3]], [[0, 1]], 5, "at most the number of classes, 4.*n=5"),
    ],
)
def test_what_does_not_fit_is_refused(specialists, sets, n, text):
    with pytest.raises(ValueError, match=text):
        combine_logits(Z, specialists, sets, n)


def test_batches_of_different_size_are_refused():
    with pytest.raises(ValueError, match="batch|rows|examples"):
        combine_logits(Z, [np.zeros((3, 3), "float32")], [[0, 1]])


def test_logits_of_another_rank_are_refused():
    with pytest.raises(ValueError, match="shape"):
        combine_logits(Z[None], [Z[None, :, :3]], [[0, 1]])
    with pytest.raises(ValueError, match="shape"):
        combine_logits(Z[0], [Z[0, :3]], [[0, 1]])


def test_no_specialists_at_all_are_refused():
    with pytest.raises(ValueError, match="of at least one specialist"):
        combine_logits(Z, [], [])
