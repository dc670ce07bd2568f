"""Confusable classes: the covariance, the sets, what is read and refused."""

import json
import os
import subprocess
import sys

import hypothesis.extra.numpy as hnp
import keras
import models
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import layers, ops

from keras_distill.specialists import _confusable, _covariance
from keras_distill.specialists._confusable import confusable_classes

# Keras on torch converts tensors in a way that NumPy 2 warns about.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation")
BLOCKS, WIDTH = 4, 6
CLASSES = BLOCKS * WIDTH


def softmax(logits):
    p = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return p / p.sum(axis=-1, keepdims=True)


def known_sets(seed=0):
    order = np.random.default_rng(seed).permutation(CLASSES)
    return sorted(sorted(part.tolist()) for part in np.split(order, BLOCKS))


def peaked(rows=1200, zipf=0.0, seed=0):
    """Predictions that confuse the classes of one known set."""
    rng = np.random.default_rng(seed)
    frequency = 1 / np.arange(1, CLASSES + 1) ** zipf
    own = rng.choice(CLASSES, rows, p=frequency / frequency.sum())
    group = np.zeros(CLASSES, int)
    for number, members in enumerate(known_sets()):
        group[members] = number
    logits = rng.normal(size=(rows, CLASSES))
    logits += 4.0 * (group[own][:, None] == group)
    logits[np.arange(rows), own] += 2.0
    return softmax(logits)


def brute_force(p, weight=None):
    weight = np.ones(len(p)) if weight is None else weight
    return np.cov(p, rowvar=False, aweights=weight)


# The covariance.


@settings(max_examples=60, deadline=None)
@given(
    data=st.data(),
    shape=st.tuples(st.integers(2, 40), st.integers(1, 9)),
    size=st.integers(1, 15),
)
def test_streaming_covariance_is_that_of_numpy(data, shape, size):
    value = st.floats(-10, 10).map(lambda v: round(v, 3))
    rows = data.draw(hnp.arrays("float64", shape, elements=value))
    weight = data.draw(hnp.arrays("float64", shape[0], elements=st.just(1.0)))
    weight[2:] = np.arange(shape[0] - 2) % 3
    starts = range(0, shape[0], size)
    blocks = [(rows[s : s + size], weight[s : s + size]) for s in starts]
    actual = _covariance.streaming_covariance(blocks)
    expected = np.cov(rows, rowvar=False, aweights=weight)
    np.testing.assert_allclose(
        actual, np.atleast_2d(expected), rtol=1e-9, atol=1e-9
    )
    assert np.array_equal(actual, actual.T)
    assert actual.dtype == "float64" and actual.flags.c_contiguous


def test_large_means_do_not_cancel():
    rows = np.random.default_rng(0).normal(size=(700, 5))
    blocks = _covariance.blocks_of([(rows + 1e8, np.ones(700))])
    actual = _covariance.streaming_covariance(blocks)
    np.testing.assert_allclose(actual, np.cov(rows.T), atol=1e-6)


def test_every_block_of_the_matrix_is_mirrored(monkeypatch):
    monkeypatch.setattr(_covariance, "BLOCK", 3)
    p = peaked(50)
    found = confusable_classes(p, 4)
    np.testing.assert_allclose(found.covariance, brute_force(p), atol=1e-15)


def test_the_matrix_is_never_copied(monkeypatch):
    product = _covariance.needed("scipy.linalg.blas").dsyrk
    seen = set()

    class Spy:
        @staticmethod
        def dsyrk(alpha, a, c, **kwargs):
            result = product(alpha, a, c=c, **kwargs)
            seen.update([c.ctypes.data, result.ctypes.data])
            return result

    monkeypatch.setattr(_covariance, "needed", lambda module: Spy)
    blocks = [(peaked(40, seed=i), np.ones(40)) for i in range(3)]
    matrix = _covariance.streaming_covariance(blocks)
    assert seen == {matrix.ctypes.data}


def test_batches_make_no_difference():
    p = peaked(1100)
    expected = confusable_classes(p, 4)
    for size in (1, 7, 512, 4096):
        found = confusable_classes(p, 4, batch_size=size)
        assert found.covariance.tobytes() == expected.covariance.tobytes()
        assert found.class_sets == expected.class_sets


# The sets.


@pytest.mark.parametrize("zipf", [0.0, 1.0], ids=["even", "Zipf"])
@pytest.mark.parametrize("size", [None, WIDTH])
@pytest.mark.parametrize("seed", range(3))
def test_known_sets_are_found(zipf, size, seed):
    found = confusable_classes(peaked(4000, zipf), BLOCKS, size, seed=seed)
    assert found.class_sets == known_sets()


def test_disjoint_sets_hold_each_class_once():
    sets = confusable_classes(peaked(60), 9).class_sets
    assert sorted(sum(sets, [])) == list(range(CLASSES))
    assert sets == sorted(sorted(members) for members in sets)
    assert len(sets) <= 9 and all(sets)


@pytest.mark.parametrize("size", [1, 5, CLASSES - 1])
def test_overlapping_sets_have_their_size(size):
    sets = confusable_classes(peaked(60), 9, size).class_sets
    assert all(len(set(members)) == size for members in sets)
    assert len(set(map(tuple, sets))) == len(sets) <= 9


def test_overlapping_sets_are_the_nearest_columns():
    rng = np.random.default_rng(0)
    columns, centroids = rng.normal(size=(2, 12, 12))
    columns /= np.linalg.norm(columns, axis=1, keepdims=True)
    for centroid, members in zip(
        centroids, _confusable._nearest(columns, centroids, 5), strict=True
    ):
        distance = np.linalg.norm(columns - centroid, axis=1)
        assert set(members) == set(np.argsort(distance)[:5])


def test_directions_are_columns_without_variances(monkeypatch):
    monkeypatch.setattr(_confusable, "BLOCK", 7)
    covariance = brute_force(peaked(60))
    expected = covariance - np.diag(np.diag(covariance))
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    actual = _confusable._directions(covariance)
    np.testing.assert_allclose(actual, expected, atol=1e-6)


def test_ties_go_to_the_lowest_class():
    columns = np.repeat([[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]], 4, axis=0)
    first, second = _confusable._nearest(columns, np.eye(2), 6)
    assert first.tolist() == [0, 1, 2, 3, 4, 5]
    assert second.tolist() == [4, 5, 6, 7, 0, 1]


def with_rare_class(rows=400):
    """A class that is never predicted, and one of 1e-200."""
    p = peaked(rows)
    p[:, 0], p[:, 1] = 0.0, 1e-200 * p[:, 1]
    return p / p.sum(axis=1, keepdims=True)


def test_classes_that_are_never_predicted_come_last():
    p = with_rare_class()
    sets = confusable_classes(p, BLOCKS, WIDTH - 2).class_sets
    assert not any(0 in members for members in sets)
    for members in confusable_classes(p, BLOCKS).class_sets:
        kept = set(members) - {0}
        assert any(kept <= set(known) for known in known_sets())


def test_one_overlapping_set():
    (members,) = confusable_classes(peaked(60), 1, 5).class_sets
    assert len(members) == 5


def test_each_class_may_be_a_set():
    sets = confusable_classes(peaked(60), CLASSES).class_sets
    assert sorted(sum(sets, [])) == list(range(CLASSES))


def test_equal_and_empty_sets_are_left_out():
    p = np.array([[0.5, 0.5, 0, 0], [0, 0, 0.5, 0.5]] * 20)
    assert confusable_classes(p, 4, 2).class_sets == [[0, 1], [2, 3]]
    never = np.pad(np.repeat(np.eye(2), 5, axis=0), [(0, 0), (0, 4)])
    sets = confusable_classes(never, 6).class_sets
    assert sets == [[0], [1], [2, 3, 4, 5]]


SCRIPT = """
import sys
import numpy as np
from keras_distill.specialists._confusable import confusable_classes
p = np.load(sys.argv[1])
print([confusable_classes(p, 9, s, seed=3).class_sets for s in (None, 5)])
"""


@pytest.mark.once
def test_the_same_seed_gives_the_same_sets_in_another_process(tmp_path):
    p = peaked(60)
    np.save(tmp_path / "p.npy", p)
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", SCRIPT, tmp_path / "p.npy"],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONHASHSEED": "7"},
    )
    here = [confusable_classes(p, 9, s, seed=3).class_sets for s in (None, 5)]
    assert done.stdout.splitlines()[-1] == str(here)


def test_seeds_matter_and_random_state_does_not():
    p = peaked(60)
    np.random.seed(1)
    first = confusable_classes(p, 9).class_sets
    after = np.random.random()
    np.random.seed(1)
    assert after == np.random.random()
    assert confusable_classes(p, 9).class_sets == first
    assert confusable_classes(p, 9, seed=1).class_sets != first


# The result.


def test_names():
    names = np.array([f"class {i}" for i in range(CLASSES)])
    found = confusable_classes(peaked(), BLOCKS, class_names=names)
    assert found.class_names == names.tolist()
    assert found.named_sets == [names[s].tolist() for s in found.class_sets]
    found = confusable_classes(peaked(), BLOCKS)
    assert found.class_names is None
    assert found.named_sets == [list(map(str, s)) for s in found.class_sets]


def test_sets_are_json():
    found = confusable_classes(peaked(), BLOCKS, class_names=["x"] * CLASSES)
    text = json.dumps([found.class_sets, found.class_names])
    assert json.loads(text) == [found.class_sets, found.class_names]


def test_a_result_is_printed_as_one_line():
    found = _confusable.ConfusableClasses(
        [[0, 1, 2], [3, 4]], np.eye(5), list("abcde")
    )
    assert str(found) == (
        "ConfusableClasses(2 sets of 2 to 3 classes: [a, b, c], [d, e]; "
        "covariance of shape (5, 5))"
    )
    sets = [list(range(i, i + 9)) for i in range(5)]
    found = _confusable.ConfusableClasses(sets, np.eye(300))
    assert repr(found) == (
        "ConfusableClasses(5 sets of 9 classes: [0, 1, 2, 3, 4, 5, 6, 7, ...], "
        "[1, 2, 3, 4, 5, 6, 7, 8, ...], [2, 3, 4, 5, 6, 7, 8, 9, ...], 2 more; "
        "covariance of shape (300, 300))"
    )


# What is read.


def batches(p, *rest):
    """Batches that all come in the same array, as some generators do."""
    held = np.empty((16, p.shape[1]), p.dtype)
    for start in range(0, len(p), 16):
        part = p[start : start + 16]
        held[: len(part)] = part
        yield (
            (held[: len(part)], *(a[start : start + 16] for a in rest))
            if rest
            else held[: len(part)]
        )


class Sequence(keras.utils.PyDataset):
    def __init__(self, p):
        super().__init__()
        self.p = p

    def __len__(self):
        return -(-len(self.p) // 8)

    def __getitem__(self, index):
        return (self.p[8 * index : 8 * index + 8],)


def tf_data(p):
    import tensorflow as tf

    return tf.data.Dataset.from_tensor_slices(p).batch(8)


def torch_loader(p):
    import torch

    data = torch.utils.data.TensorDataset(torch.as_tensor(p))
    return torch.utils.data.DataLoader(data, batch_size=8)


KINDS = {
    "generator": batches,
    "list": lambda p: [p[:11], p[11:]],
    "tuple": lambda p: (p[:11], p[11:]),
    "empty batches": lambda p: [p[:0], p, p[:0]],
    "tensor": ops.convert_to_tensor,
    "tensors": lambda p: [ops.convert_to_tensor(p)],
    "PyDataset": Sequence,
    "positions": lambda p: p.reshape(8, 5, -1),
}
KINDS |= {
    "tensorflow": {"tf.data": tf_data},
    "torch": {"DataLoader": torch_loader},
    "jax": {},
}[keras.backend.backend()]


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_all_kinds_of_predictions_are_read(kind):
    p = peaked(40).astype("float32")
    found = confusable_classes(kind(p), 4)
    np.testing.assert_allclose(found.covariance, brute_force(p), atol=1e-12)


def test_half_precision():
    p = peaked(40).astype("float16")
    expected = brute_force(p.astype("float64"))
    actual = confusable_classes(p, 4).covariance
    np.testing.assert_allclose(actual, expected, atol=1e-12)


def test_weights_count_and_labels_do_not():
    p, weight = peaked(40), np.arange(40) % 3
    found = confusable_classes(batches(p, np.zeros(40), weight), 4)
    expected = brute_force(p, weight)
    np.testing.assert_allclose(found.covariance, expected, atol=1e-15)


def test_labels_of_models_are_not_looked_at():
    model, (x, _) = models.functional(), models.data(20)
    names = np.array(["no class number"] * 20)
    found = confusable_classes((model, (x, names)), 2)
    expected = confusable_classes((model, x), 2)
    assert np.array_equal(found.covariance, expected.covariance)


def test_one_pass():
    drawn = []

    def counted():
        for batch in batches(peaked(40)):
            drawn.append(len(batch))
            yield batch

    data = counted()
    confusable_classes(data, 4)
    assert drawn == [16, 16, 8]
    with pytest.raises(ValueError, match="at least one batch.*only once"):
        confusable_classes(data, 4)


# Generalists.


def of_model(model, x):
    return softmax(models.logits(model, x).astype("float64"))


@pytest.mark.parametrize("make", [*models.KINDS, models.noisy])
def test_models(make):
    model, (x, y) = make(), models.data(20)
    found = confusable_classes((model, (x, y)), 2, batch_size=8)
    assert model.built
    expected = brute_force(of_model(model, x))
    np.testing.assert_allclose(found.covariance, expected, atol=1e-6)


def test_data_of_models():
    model, (x, y) = models.functional(), models.data(20)
    weight = np.arange(20) % 3
    kinds = [x, (x,), models.Batches(x, y), batches(x, y), iter([(x, y)])]
    expected = brute_force(of_model(model, x))
    for data in kinds:
        found = confusable_classes((model, data), 2, batch_size=8)
        np.testing.assert_allclose(found.covariance, expected, atol=1e-6)
    found = confusable_classes((model, (x, y, weight)), 2)
    expected = brute_force(of_model(model, x), weight)
    np.testing.assert_allclose(found.covariance, expected, atol=1e-6)


def test_every_position_is_an_example():
    model, (words, y) = models.tagger(), models.sequences()
    weight = (words != 0).astype("float32")
    found = confusable_classes((model, (words, y, weight)), 2, batch_size=4)
    p = of_model(model, words).reshape(-1, models.CLASSES)
    expected = brute_force(p, weight.ravel())
    np.testing.assert_allclose(found.covariance, expected, atol=1e-6)


def test_large_logits_are_no_problem():
    model, (x, _) = models.linear(), models.data(20)
    model.set_weights([1e4 * w for w in model.get_weights()])
    assert np.isfinite(confusable_classes((model, x), 2).covariance).all()


def test_nothing_changes_in_the_model():
    model, (x, y) = models.noisy(), models.data(20)
    model.compile("sgd", models.CROSSENTROPY)
    before = models.snapshot(model)
    first = confusable_classes((model, (x, y)), 2)
    models.assert_same(models.snapshot(model), before)
    again = confusable_classes((model, (x, y)), 2)
    assert np.array_equal(first.covariance, again.covariance)


# What is refused.


class Probabilities(models.Subclassed):
    def call(self, inputs):
        return ops.softmax(super().call(inputs))


def with_head(head):
    return keras.Sequential([keras.Input((models.FEATURES,)), head])


def broken():
    model = models.functional()
    model.layers[-1].bias.assign([0.0, np.nan, 0.0])
    return model


X = models.data(20)[0]
P = peaked(40)
CONSTANT = np.repeat(P[:1], 40, axis=0)
BAD_PREDICTIONS = {
    "logits": (lambda: np.log(P), "must be probabilities.*ops.softmax"),
    "not 1": (lambda: P * 2, "must be probabilities.*sums from 2 to 2"),
    "negative": (lambda: np.eye(24) * 3 - 2 / 24, "must be probabilities"),
    "NaN": (lambda: P * np.nan, "must be finite. Received: 960 values"),
    "one example": (lambda: P[:1], "at least two examples. Received: 1 "),
    "weights": (
        lambda: [(P, None, np.arange(40) == 3)],
        "at least two examples. Received: 1 with",
    ),
    "negative weights": (
        lambda: [(P, np.zeros(40), np.full(40, -1.0))],
        "finite and at least 0. Received: weights from -1.0",
    ),
    "no row": (lambda: P[:0], "at least one batch"),
    "no batch": (lambda: iter([]), "at least one batch.*generator"),
    "empty list": (lambda: [], "at least one batch"),
    "widths": (lambda: [P, np.eye(3)], "batches of 24 and of 3 classes"),
    "labels": (lambda: np.arange(9), r"shape \(examples, classes\).*\(9,\)"),
    "batch of labels": (lambda: [np.arange(9)], r"\(examples, classes\)"),
    "constant": (lambda: CONSTANT, "must differ between examples"),
    "softmax": (
        lambda: (with_head(layers.Dense(3, "softmax")), X),
        r"`generalist` must end in logits.*kd.as_logits\(generalist\)",
    ),
    "probabilities": (lambda: (Probabilities(), X), "kd.as_logits"),
    "two outputs": (lambda: (models.two_outputs(), X), "one output"),
    "one unit": (lambda: (with_head(layers.Dense(1)), X), "one output unit"),
    "broken": (lambda: (broken(), X), "generalist.s logits are not finite"),
    "no data": (lambda: (models.functional(), None), "at least one batch"),
}


@pytest.mark.parametrize(
    "make, text", BAD_PREDICTIONS.values(), ids=BAD_PREDICTIONS
)
def test_bad_predictions(make, text):
    with pytest.raises(ValueError, match=text):
        confusable_classes(make(), 2)


BAD_KINDS = {
    "None": (lambda: None, "pair .generalist, dataset.. Received:.*NoneType"),
    "number": (lambda: 3, "Received:.* int"),
    "text": (lambda: "abc", "Received:.* str"),
    "dict": (lambda: {"p": P}, "Received:.* dict"),
    "lists": (lambda: P.tolist(), "Received:.* list.*np.asarray"),
    "model": (models.functional, r"must come as a pair.*\['Functional'\]"),
    "swapped": (lambda: (X, models.functional()), "must come as a pair"),
    "three": (lambda: (models.functional(), X, X), "must come as a pair"),
}


@pytest.mark.parametrize("make, text", BAD_KINDS.values(), ids=BAD_KINDS)
def test_bad_kinds(make, text):
    with pytest.raises(TypeError, match=text):
        confusable_classes(make(), 2)


BAD_NUMBERS = {
    "none": ({"num_specialists": 0}, "`num_specialists`.*at least 1"),
    "half": ({"num_specialists": 2.5}, "whole number.*num_specialists=2.5"),
    "true": ({"num_specialists": True}, "whole number"),
    "many": ({"num_specialists": 25}, "25 for 24 classes. Pass a number from"),
    "all in one": ({"num_specialists": 1}, "leaves no others.*size=None"),
    "size 0": ({"size": 0}, "`size` must be a whole number of at least 1"),
    "size of all": ({"size": 24}, "below the number of classes.*from 1 to 23"),
    "batch size": ({"batch_size": 0}, "`batch_size` must be a whole number"),
    "seed": ({"seed": -1}, "`seed` must be a whole number of at least 0"),
    "names": ({"class_names": ["a", "b"]}, "2 names for 24 classes"),
}


@pytest.mark.parametrize("kwargs, text", BAD_NUMBERS.values(), ids=BAD_NUMBERS)
def test_bad_numbers(kwargs, text):
    with pytest.raises(ValueError, match=text):
        confusable_classes(P, **{"num_specialists": 2} | kwargs)


def test_names_in_one_text():
    with pytest.raises(TypeError, match="one text, 'abc'"):
        confusable_classes(P, 2, class_names="abc")


def test_a_set_of_all_classes():
    p = np.array([[1.0, 0.0], [0.0, 1.0]])
    doubled = np.concatenate([p, p]) @ np.array([[0.5, 0.5, 0], [0, 0, 1.0]])
    assert confusable_classes(doubled, 2).class_sets == [[0, 1], [2]]
    covariance = np.eye(4)  # No two classes have anything in common.
    with pytest.raises(ValueError, match="which give that one set"):
        _confusable._class_sets(covariance, 2, None, 0)


def test_without_scikit_learn(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.cluster", None)
    drawn = batches(P)
    with pytest.raises(ImportError, match=r'"keras-distill\[specialists\]"'):
        confusable_classes(drawn, 2)
    assert len(next(drawn)) == 16  # Before anything was read.
