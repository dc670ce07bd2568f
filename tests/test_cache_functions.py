"""Teachers that are functions of a batch: they may compute it anywhere."""

import importlib.util

import caching
import keras
import ml_dtypes
import models
import numpy as np
import pytest
from caching import BATCH, EXAMPLES

import keras_distill as kd
from keras_distill.cache import _shards

X, Y = caching.data()
NAME = "my-model@v3"
WEIGHTS = np.random.default_rng(0).normal(size=(models.FEATURES, 3))


def logits(x):
    return (x @ WEIGHTS).astype("float32")


def build(folder, function=logits, fingerprint=NAME, **arguments):
    return caching.build(folder, function, fingerprint=fingerprint, **arguments)


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    """Files of the cache that `logits` makes."""
    folder = tmp_path_factory.mktemp("expected")
    build(folder)
    return caching.contents(folder)


# The same cache as that of a model.


def test_a_function_that_calls_a_model_makes_the_cache_of_the_model(tmp_path):
    teacher = models.sequential()
    cache = build(tmp_path / "function", teacher.predict_on_batch)
    of_model = caching.build(tmp_path / "model", teacher)
    np.testing.assert_allclose(cache.logits(), of_model.logits(), rtol=1e-6)
    differing = {"teacher", "shards"}
    for key in cache.manifest.keys() - differing:
        assert cache.manifest[key] == of_model.manifest[key]


def test_a_function_sees_each_batch_once_more_than_the_first(tmp_path):
    seen = []

    def function(x):
        assert type(x) is np.ndarray
        seen.append(x)
        return logits(x)

    build(tmp_path, function)
    np.testing.assert_array_equal(np.concatenate(seen[1:]), X)
    np.testing.assert_array_equal(seen[0], X[:BATCH])


@pytest.mark.parametrize("kind", [caching.arrays, *caching.OF_BATCHES])
def test_every_kind_of_batches_gives_the_same_bytes(kind, expected, tmp_path):
    build(tmp_path, dataset=kind(X, Y))
    assert caching.contents(tmp_path) == expected


@pytest.mark.parametrize("kind", caching.OF_EXAMPLES)
def test_a_dataset_of_examples_is_not_known_from_batches(kind, tmp_path):
    message = r"outputs of shape \(3,\). .*a function whole batches"
    with pytest.raises(ValueError, match=message):
        build(tmp_path / "new", dataset=kind(X, Y))
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("named", [True, False], ids=["dict", "tuple"])
def test_structured_inputs(named, tmp_path):
    def function(x):
        a, b = (x["a"], x["b"]) if named else x
        return logits(a) - logits(b)

    x = {"a": X, "b": 3 * X} if named else (X, 3 * X)
    cache = build(tmp_path, function, dataset=(x, Y))
    np.testing.assert_allclose(cache.logits(), -2 * logits(X), rtol=1e-4)


def test_a_function_may_write_into_its_inputs(expected, tmp_path):
    x = X.copy()

    def function(batch):
        batch *= 2.0
        return logits(batch / 2.0)

    build(tmp_path, function, dataset=(x, Y))
    np.testing.assert_array_equal(x, X)
    assert caching.contents(tmp_path) == expected


# What a function may return.


def whole(x):
    return np.round(logits(x))


RETURNED = {
    "list": (logits, lambda z: z.tolist()),
    "list of arrays": (logits, list),
    "list of tensors": (logits, lambda z: [keras.ops.array(row) for row in z]),
    "tuple of tuples": (logits, lambda z: tuple(map(tuple, z.tolist()))),
    "float64": (logits, lambda z: z.astype("float64")),
    "float16": (whole, lambda z: z.astype("float16")),
    "int8": (whole, lambda z: z.astype("int8")),
    "bfloat16": (whole, lambda z: z.astype(ml_dtypes.bfloat16)),
    "tensor": (logits, keras.ops.array),
    "half tensor": (whole, lambda z: keras.ops.cast(z, "bfloat16")),
}


@pytest.mark.parametrize("name", RETURNED)
def test_whatever_numpy_takes_for_logits(name, tmp_path):
    values, convert = RETURNED[name]
    cache = build(tmp_path, lambda x: convert(values(x)))
    np.testing.assert_array_equal(cache.logits(), values(X))


@pytest.mark.skipif(
    importlib.util.find_spec("torch") is None, reason="torch is not there"
)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_torch_module(dtype, tmp_path):
    import torch

    module = torch.nn.Linear(models.FEATURES, 3, dtype=getattr(torch, dtype))

    def function(x):
        return module(torch.from_numpy(x).to(module.weight.dtype))

    cache = build(tmp_path, function)
    expected = function(X[:BATCH]).detach().float().numpy()
    np.testing.assert_array_equal(cache.logits(0, BATCH), expected)


# One row: id, what a function makes of the logits, and the message.
REFUSED = {
    "none": (lambda z: None, "real numbers. Received: NoneType of dtype obj"),
    "text": (lambda z: z.astype(str), "real numbers. Received: ndarray of dt"),
    "complex": (lambda z: z + 1j, "real numbers. Received: ndarray of dtype c"),
    "truth": (lambda z: z > 0, "real numbers. Received: ndarray of dtype bool"),
    "tuple": (lambda z: (z, z), "one output. Received: outputs in a tuple"),
    "dict": (
        lambda z: {"logits": z},
        "one output. Received: outputs in a dict",
    ),
    "ragged": (
        lambda z: [*z[1:], z[0, :2]],
        "the same shape for each example. Received: a list of rows of the "
        "shapes [(2,), (3,)]. Pad",
    ),
    "number": (
        lambda z: z.sum(),
        "(batch, ..., classes), one for each class or label",
    ),
    "classes": (lambda z: z.argmax(-1), "Received: outputs of shape (8,)"),
    "no unit": (lambda z: z[:, :0], "Received: outputs of shape (8, 0)"),
    "rows": (
        lambda z: z[1:],
        "logits for each example. Received: logits of 7 examples for a batch "
        "of 8. Return one row per example",
    ),
    "one row": (lambda z: z[:1], "logits of 1 examples for a batch of 8"),
    "transposed": (lambda z: z.T, "logits of 3 examples for a batch of 8"),
    "nan": (lambda z: z * np.nan, "not finite. Received: 24 of 24 values"),
    "huge": (lambda z: z * 1e300, "not finite. Received: "),
    "probabilities": (
        lambda z: np.full_like(z, 1 / 3),
        "outputs probabilities where logits are expected",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_logits_is_refused(name, tmp_path):
    change, message = REFUSED[name]
    with pytest.raises(ValueError) as raised:
        build(tmp_path / "new", lambda x: change(logits(x).astype("float64")))
    assert message in str(raised.value)
    assert not (tmp_path / "new").exists()


LATER = {
    "rows": (lambda z: z[1:], "logits of 7 examples for a batch of 8"),
    "classes": (lambda z: z[:, 1:], "the same shape for each example"),
    "dict": (lambda z: {"logits": z}, "must have one output"),
    "nan": (lambda z: z * np.nan, "not finite. Received: 24 of 24 values"),
    "probabilities": (
        lambda z: np.full_like(z, 1 / 3),
        "outputs probabilities where logits are expected",
    ),
}


@pytest.mark.parametrize("name", LATER)
def test_every_batch_is_checked(name, expected, tmp_path):
    change, message = LATER[name]

    def function(x):
        z = logits(x)
        return change(z) if (x == X[BATCH : 2 * BATCH][: len(x)]).all() else z

    with pytest.raises(ValueError, match=message):
        build(tmp_path, function)
    build(tmp_path)
    assert caching.contents(tmp_path) == expected


# The fingerprint.


@pytest.mark.parametrize("fingerprint", [None, "", 3, b"my-model"])
@pytest.mark.parametrize("part", [False, True])
def test_a_function_needs_a_fingerprint(fingerprint, part, tmp_path):
    message = "needs a `fingerprint`, .* Received: fingerprint=.*my-model@v3"
    with pytest.raises(ValueError, match=message):
        if part:
            build_part(tmp_path / "new", 0, fingerprint=fingerprint)
        else:
            build(tmp_path / "new", fingerprint=fingerprint)
    assert not (tmp_path / "new").exists()


def test_a_model_has_a_fingerprint_of_its_own(tmp_path):
    teacher = caching.teacher()
    message = "Received: fingerprint='my-model@v3' beside the Keras model 'seq"
    with pytest.raises(ValueError, match=message):
        build(tmp_path / "new", teacher)
    assert not (tmp_path / "new").exists()
    caching.build(tmp_path, teacher)
    with pytest.raises(ValueError, match=message):
        kd.TeacherCache(tmp_path, teacher, fingerprint=NAME)


def test_the_fingerprint_is_kept_as_it_is(tmp_path):
    build(tmp_path)
    for teacher in (None, logits):
        cache = kd.TeacherCache(tmp_path, teacher, fingerprint=NAME)
        assert cache.teacher_fingerprint == cache.manifest["teacher"] == NAME


def test_another_teacher_does_not_open_the_cache(tmp_path):
    build(tmp_path)
    message = (
        "Received: a teacher with fingerprint 'v4', expected 'my-model@v3'"
    )
    for teacher in (None, logits):
        with pytest.raises(ValueError, match=message):
            kd.TeacherCache(tmp_path, teacher, fingerprint="v4")
    message = r"fingerprint 2-[0-9a-f]{12}\.\.\., expected 'my-model@v3'. Build"
    with pytest.raises(ValueError, match=message):
        kd.TeacherCache(tmp_path, caching.teacher())
    with pytest.raises(ValueError, match="needs a `fingerprint`"):
        kd.TeacherCache(tmp_path, logits)


def test_a_function_may_stand_for_a_model(tmp_path):
    teacher = models.sequential()
    known = caching.build(tmp_path / "a", teacher).teacher_fingerprint
    build(tmp_path / "b", teacher.predict_on_batch, known)
    kd.TeacherCache(tmp_path / "b", teacher)


# Stopped and divided builds.


@pytest.mark.parametrize("batch", range(3))
def test_an_error_loses_the_shard_it_falls_into_alone(
    batch, expected, tmp_path
):
    def failing(x):
        if len(seen) == batch + 1:
            raise ConnectionError("the server is down")
        seen.append(len(x))
        return logits(x)

    seen = []
    with pytest.raises(ConnectionError, match="the server is down"):
        build(tmp_path, failing)
    shards = [p.name for p in caching.shards(tmp_path)]
    assert list(caching.contents(tmp_path)) == ["build.json", *shards]
    assert [name.split("-")[1] for name in shards] == [
        f"{number:05d}" for number in range(batch)
    ]
    later = []
    build(tmp_path, lambda x: later.append(len(x)) or logits(x))
    assert sum(later) == BATCH + EXAMPLES - BATCH * batch
    assert caching.contents(tmp_path) == expected


def test_an_error_at_the_first_batch_writes_nothing(tmp_path):
    def failing(x):
        raise ConnectionError("the server is down")

    with pytest.raises(ConnectionError, match="the server is down"):
        build(tmp_path / "new", failing)
    assert not (tmp_path / "new").exists()


def build_part(folder, worker, fingerprint=NAME, **arguments):
    kd.TeacherCache.build_part(
        logits,
        (X, Y),
        folder,
        worker=worker,
        num_workers=2,
        fingerprint=fingerprint,
        **{"dtype": "float32", "batch_size": BATCH, "shard_examples": BATCH},
        verbose=0,
        **arguments,
    )


def test_parts_of_several_workers_are_joined(expected, tmp_path):
    for worker in range(2):
        build_part(tmp_path, worker)
    assert len(caching.shards(tmp_path)) == 3
    seen = []
    build(tmp_path, lambda x: seen.append(len(x)) or logits(x))
    assert seen == [BATCH], "more than a look at the first batch"
    assert caching.contents(tmp_path) == expected


def test_another_fingerprint_does_not_go_on(tmp_path):
    build_part(tmp_path, 0)
    before = caching.contents(tmp_path)
    message = "Received: teacher 'v4', expected teacher 'my-model@v3'. Nothing"
    with pytest.raises(ValueError, match=message):
        build(tmp_path, fingerprint="v4")
    with pytest.raises(ValueError, match=message):
        build_part(tmp_path, 1, fingerprint="v4")
    assert caching.contents(tmp_path) == before
    assert _shards.read_json(tmp_path / "build.json")["teacher"] == NAME


# Training.


def test_a_student_trains_from_the_logits_of_a_function(tmp_path):
    cache = build(tmp_path, lambda x: x @ np.eye(models.FEATURES, 3))
    logs = models.fit(caching.matcher(), cache.attach((X, Y)), epochs=1)
    assert logs["soft_loss"] == [0.0]
