"""Records: what is kept of one example, to the bit."""

import itertools

import ml_dtypes
import models
import numpy as np
import pytest
import reference

from keras_distill import _attached, _checksums
from keras_distill.cache._records import Layout, to_float32

SHAPES = {"classes": (7,), "time": (5, 7)}


def logits(shape, examples=6, scale=3.0):
    rng = np.random.default_rng(0)
    return rng.normal(scale=scale, size=(examples, *shape)).astype("float32")


def stored(values, dtype="float32", top_k=None):
    """What is read again of logits that were written."""
    layout = Layout(values.shape[1:], dtype, top_k)
    checks = np.arange(len(values), dtype="uint32")
    records = layout.encode(values, checks)
    np.testing.assert_array_equal(records["inputs_crc32"], checks)
    raw = np.frombuffer(records.tobytes(), layout.numpy_dtype)
    return layout.decode(raw)


def log_rest(found):
    [(classes, values)] = found.log_rest.items()
    return values, int(classes)


# Dense logits.


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_dense_logits_are_rounded_to_the_dtype(dtype, shape):
    found = stored(logits(shape), dtype)
    assert found.dtype == dtype
    np.testing.assert_array_equal(found, logits(shape).astype(dtype))


def test_bfloat16_is_rounded_to_nearest_with_ties_to_even():
    upper = np.arange(2**16, dtype="uint32") << 16
    lower = np.array([0, 1, 0x7FFF, 0x8000, 0x8001, 0xFFFF], "uint32")
    values = (upper[:, None] | lower).view("float32")
    values = values[(np.abs(values) <= 3.38e38).all(axis=1)]
    found = stored(values, "bfloat16")
    expected = values.astype(ml_dtypes.bfloat16).astype("float32")
    np.testing.assert_array_equal(found.view("uint32"), expected.view("uint32"))


@pytest.mark.parametrize(
    "dtype, size", [("float32", 4), ("float16", 2), ("bfloat16", 2)]
)
@pytest.mark.parametrize("classes, index", [(7, 2), (2**16, 2), (70000, 4)])
def test_records_hold_no_padding(dtype, size, classes, index):
    dense = Layout((classes,), dtype).numpy_dtype
    assert dense.itemsize == 4 + size * classes
    top = Layout((5, classes), dtype, 3).numpy_dtype
    assert top.itemsize == 4 + 5 * (3 * (size + index) + 4)
    assert all(
        field.newbyteorder("<") == field for field, _ in top.fields.values()
    )


@pytest.mark.parametrize("top_k", [None, 3])
def test_settings_come_back_from_json(top_k):
    layout = Layout((5, 7), "bfloat16", top_k)
    assert Layout.from_json(layout.to_json()) == layout


@pytest.mark.parametrize("peak", [65504.0, -65504.0])
def test_largest_float16_is_kept(peak):
    values = np.array([[peak, 0.0]], "float32")
    np.testing.assert_array_equal(stored(values, "float16"), values)


# Top-k.

TOP_K = list(itertools.product(SHAPES.values(), [1, 3, 6, 7]))


@pytest.mark.parametrize("shape, k", TOP_K)
def test_the_largest_logits_are_kept_in_order(shape, k):
    values = logits(shape)
    found = stored(values, top_k=k)
    order = np.argsort(-values, axis=-1)[..., :k]
    np.testing.assert_array_equal(found.indices, order)
    expected = np.take_along_axis(values, order, axis=-1)
    np.testing.assert_array_equal(found.logits, expected)


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("shape, k", TOP_K[:3] + TOP_K[4:7])
def test_log_of_the_rest_is_exact(shape, k, dtype):
    values = logits(shape, scale=30.0)
    rest, classes = log_rest(stored(values, dtype, k))
    others = -np.sort(-values.astype("float64"), axis=-1)[..., k:]
    expected = np.log(np.exp(others).sum(axis=-1))
    assert (rest.dtype, classes) == (np.float32, 7)
    np.testing.assert_allclose(rest, expected, rtol=2e-7)


def test_log_of_the_rest_neither_overflows_nor_underflows():
    values = np.array([[9e3, 5e3, 5e3], [9.0, -9e3, -9e3]], "float32")
    rest, _ = log_rest(stored(values, top_k=1))
    np.testing.assert_allclose(rest, [5e3 + np.log(2), -9e3 + np.log(2)])


@pytest.mark.parametrize("shape, k", [TOP_K[0], TOP_K[1], TOP_K[5], TOP_K[7]])
def test_stored_classes_keep_their_probability(shape, k):
    values = logits(shape)
    dense = to_float32(_attached.dense(stored(values, top_k=k)))
    expected, found = reference.softmax(values), reference.softmax(dense)
    order = np.argsort(-values, axis=-1)
    kept = order[..., :k], order[..., k:]
    for group, mean in zip(kept, [False, True], strict=True):
        e, f = (np.take_along_axis(p, group, -1) for p in (expected, found))
        if mean and k < 7:
            e = np.broadcast_to(e.mean(axis=-1, keepdims=True), e.shape)
        np.testing.assert_allclose(f, e, rtol=2e-6)


@pytest.mark.parametrize("classes", [2**16, 2**16 + 1])
def test_a_large_vocabulary(classes):
    values = logits((classes,), examples=2)
    values[:, -1], values[0, 0] = 20.0, 19.0
    found = stored(values, "float16", top_k=2)
    assert found.indices[0].tolist() == [classes - 1, 0]
    dense = to_float32(_attached.dense(found))
    assert dense.shape == (2, classes)
    np.testing.assert_allclose(
        reference.softmax(dense)[:, -1],
        reference.softmax(values)[:, -1],
        rtol=1e-5,
    )


def test_equal_logits_are_kept_once_each():
    found = stored(np.zeros((4, 7), "float32"), top_k=6)
    assert all(len(set(row)) == 6 for row in found.indices.tolist())
    np.testing.assert_allclose(log_rest(found)[0], 0.0)


# Checksums of inputs.


def test_checksums_tell_examples_apart_whatever_the_batch():
    x, _ = models.data(20)
    checks = _checksums.checks(x)
    assert len(set(checks.tolist())) == 20
    np.testing.assert_array_equal(_checksums.checks(x[3:9]), checks[3:9])


@pytest.mark.parametrize("dtype", ["uint8", "float16", "float64", "bool"])
def test_checksums_of_any_dtype(dtype):
    x = np.arange(12).reshape(3, 4).astype(dtype)
    x[:, 0] = [0, 1, 0]
    x[:, 1:] = 1
    a, b, c = _checksums.checks(x)
    assert a == c != b


def test_checksums_see_each_of_several_inputs():
    x = np.zeros((3, 4), "float32")
    changed = x.copy()
    changed[1, 3] = 1.0
    before = _checksums.checks({"a": x, "b": x})
    for name in "ab":
        after = _checksums.checks({"a": x, "b": x, name: changed})
        assert (before != after).tolist() == [False, True, False]


@pytest.mark.parametrize("kind", ["S", "U", "O"])
def test_checksums_of_strings(kind):
    words = np.array([["a", "b"], ["ab", ""], ["a", "b"]]).astype(kind)
    a, b, c = _checksums.checks(words)
    assert a == c != b
    assert _checksums.spec(words)[0]["dtype"] == "string"


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_checksums_see_any_one_element_of_a_large_input(dtype):
    size = 1003
    plain = np.arange(size).astype(dtype)[None]
    x = np.repeat(plain, size, axis=0)
    np.fill_diagonal(x, plain[0] + 1)
    assert (_checksums.checks(x) != _checksums.checks(plain)).all()


def test_checksums_see_a_shuffle_of_sparse_images():
    # The squares lie beside the diagonal of an image of 256 x 256.
    x = np.zeros((16, 256, 256, 1), "uint8")
    for number, image in enumerate(x):
        image[8 * number : 8 * number + 40, 200:240] = 255
    checks = _checksums.checks(x)
    assert (checks != np.roll(checks, 1)).any()
