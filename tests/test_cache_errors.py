"""What cannot be cached is refused, before anything is written."""

import shutil

import caching
import keras
import models
import numpy as np
import pytest
from keras import layers

import keras_distill as kd
from keras_distill._keras.fingerprint import fingerprint

X, Y = caching.data()


def ending(*stack):
    inputs = keras.Input((models.FEATURES,))
    return keras.Sequential([inputs, layers.Dense(3), *stack])


class TwoHeads(keras.Model):
    """Several outputs that no graph tells of."""

    def __init__(self, structure):
        super().__init__()
        self.heads = [layers.Dense(3), layers.Dense(3)]
        self.structure = structure
        self(np.zeros((1, models.FEATURES), "float32"))

    def call(self, inputs):
        a, b = (head(inputs) for head in self.heads)
        return {"tuple": (a, b), "dict": {"a": a, "b": b}}[self.structure]


class Wrapped(keras.Model):
    """A model whose graph is hidden."""

    def __init__(self, model):
        super().__init__()
        self.model = model
        self(np.zeros((1, models.FEATURES), "float32"))

    def call(self, inputs):
        return self.model(inputs)


def with_bias(*bias):
    model = models.linear(seed=1)
    head = layers.Dense(3, bias_initializer="ones")
    model = keras.Sequential([keras.Input((models.FEATURES,)), head])
    head.bias.assign(np.array(bias, "float32"))
    return model


# One row: id, teacher, error, and what the message must contain.
TEACHERS = {
    "none": (lambda: None, TypeError, "`teacher` must be a keras.Model"),
    "path": (lambda: "t.keras", TypeError, "or a function of a batch with a"),
    "class": (lambda: TwoHeads, TypeError, "Pass an instance, not the class"),
    "layer": (lambda: layers.Dense(3), TypeError, "Wrap layers in a keras.Mod"),
    "softmax": (
        lambda: ending(layers.Softmax()),
        ValueError,
        "kd.as_logits(teacher)",
    ),
    "hidden softmax": (
        lambda: Wrapped(ending(layers.Softmax())),
        ValueError,
        "outputs probabilities where logits are expected",
    ),
    "sigmoid": (
        lambda: ending(layers.Activation("sigmoid")),
        ValueError,
        "kd.as_logits(teacher)",
    ),
    "hidden number": (
        lambda: Wrapped(ending(layers.Dense(1), layers.Reshape(()))),
        ValueError,
        "also where that is one logit",
    ),
    "two outputs": (models.two_outputs, ValueError, "must have one output"),
    "hidden tuple": (
        lambda: TwoHeads("tuple"),
        ValueError,
        "must have one output",
    ),
    "hidden dict": (
        lambda: TwoHeads("dict"),
        ValueError,
        "must have one output",
    ),
    "unbuilt": (models.unbuilt, ValueError, "must be built"),
    "nan": (
        lambda: with_bias(0, np.nan, 0),
        ValueError,
        "are not finite. Received: 20 of 60 values",
    ),
    "infinite": (
        lambda: with_bias(0, 0, -np.inf),
        ValueError,
        "are not finite. Received: 20 of 60 values",
    ),
}


@pytest.mark.parametrize("name", TEACHERS)
def test_a_teacher_that_cannot_be_cached_is_refused(name, tmp_path):
    make, error, message = TEACHERS[name]
    with pytest.raises(error) as raised:
        kd.TeacherCache.build(make(), X, tmp_path / "new", verbose=0)
    assert message in str(raised.value)
    assert not (tmp_path / "new").exists()


def generator():
    yield X, Y


class Empty(caching.Batches):
    def __len__(self):
        return 0


class Endless(caching.Batches):
    def __len__(self):
        raise AssertionError("not asked")

    @property
    def num_batches(self):
        return None


ENDLESS = "must end. Received: a {} that repeats for ever. Build and attach"
EMPTY = "must hold at least one batch. Received: an empty {}"
ARRAYS = "A generator has no order to come back to; wrap its data in a PyData"
DATASETS = {
    "nothing": (lambda: (), "`dataset` must hold at least one batch"),
    "no rows": (lambda: (X[:0], Y[:0]), "`dataset` must hold at least one"),
    "generator": (generator, ARRAYS),
    "path": (lambda: "data.npy", ARRAYS),
    "lists": (lambda: [[1.0, 2.0, 3.0, 4.0]], ARRAYS),
    "a number": (lambda: np.float32(3), ARRAYS),
    "rows": (lambda: ((X, X[:3]),), "arrays of [3, 20] rows"),
    "empty": (lambda: Empty(X), EMPTY.format("PyDataset")),
    "endless": (lambda: Endless(X), ENDLESS.format("PyDataset")),
    "grain empty": (
        lambda: caching.grain_examples(X)[:0],
        EMPTY.format("grain MapDataset"),
    ),
    "grain endless": (
        lambda: caching.grain_examples(X).repeat(),
        ENDLESS.format("grain MapDataset"),
    ),
}
KIND = "tf.data.Dataset"
DATASETS |= {
    "tf empty": (
        lambda: caching.tf_examples(X).take(0),
        EMPTY.format(KIND),
    ),
    "tf filtered": (
        lambda: caching.tf_examples(X).filter(lambda x: False),
        EMPTY.format(KIND),
    ),
    "tf endless": (
        lambda: caching.tf_batches(X).repeat(),
        ENDLESS.format(KIND),
    ),
    "tf shuffled": (
        lambda: caching.tf_batches(X).shuffle(3),
        "the same order each time",
    ),
}


@pytest.mark.parametrize("name", caching.names(DATASETS))
def test_a_dataset_that_cannot_be_cached_is_refused(name, tmp_path):
    make, message = DATASETS[name]
    with pytest.raises(ValueError) as raised:
        caching.build(tmp_path / "new", dataset=make())
    assert message in str(raised.value)
    assert not (tmp_path / "new").exists()


class Noisy(caching.Batches):
    def __getitem__(self, index):
        (x,) = super().__getitem__(index)
        return (x + np.random.default_rng().normal(size=x.shape),)


def test_random_augmentation_is_refused(tmp_path):
    with pytest.raises(ValueError, match="Build before .* random augmentati"):
        caching.build(tmp_path / "new", dataset=Noisy(X))
    assert not (tmp_path / "new").exists()


ARGUMENTS = {
    "dtype": [
        ({"dtype": "float64"}, "one of ('float32', 'float16', 'bfloat16')"),
        ({"dtype": "int8"}, "dtype='int8'"),
        ({"dtype": None}, "dtype=None"),
    ],
    "top_k": [
        ({"top_k": 0}, "a whole number from 1 to 3, the number of classes"),
        ({"top_k": 4}, "top_k=4"),
        ({"top_k": 2.0}, "top_k=2.0"),
        ({"top_k": True}, "top_k=True"),
        ({"top_k": "2"}, "top_k='2'"),
    ],
    "batch_size": [
        ({"batch_size": 0}, "a whole number of at least 1"),
        ({"batch_size": -8}, "batch_size=-8"),
        ({"batch_size": 8.0}, "batch_size=8.0"),
        ({"batch_size": None}, "batch_size=None"),
    ],
    "shard_examples": [
        ({"shard_examples": 0}, "a whole number of at least 1"),
        ({"shard_examples": 1.5}, "shard_examples=1.5"),
        ({"shard_examples": True}, "shard_examples=True"),
    ],
}
ROWS = [(name, *row) for name, rows in ARGUMENTS.items() for row in rows]


@pytest.mark.parametrize("name, arguments, message", ROWS)
def test_a_bad_argument_is_refused(name, arguments, message, tmp_path):
    with pytest.raises(ValueError) as raised:
        caching.build(tmp_path / "new", **arguments)
    assert f"`{name}`" in str(raised.value)
    assert message in str(raised.value)
    assert not (tmp_path / "new").exists()


# Found while the teacher runs.


def batches(*sizes):
    class Uneven(caching.Batches):
        def __len__(self):
            return len(sizes)

        def __getitem__(self, index):
            start = sum(sizes[:index])
            return (X[start : start + sizes[index]],)

    return Uneven()


@pytest.mark.parametrize(
    "sizes", [(8, 4, 8), (8, 4, 4, 4), (8, 12), (2, 2, 2, 3)]
)
@pytest.mark.parametrize("shard_examples", [8, 32])
def test_batches_of_several_sizes_are_refused(sizes, shard_examples, tmp_path):
    with pytest.raises(ValueError, match="but the last must be of one size"):
        caching.build(
            tmp_path, dataset=batches(*sizes), shard_examples=shard_examples
        )


class Shrinking(caching.Batches):
    """Gives no more batches once its length was asked for."""

    def __getitem__(self, index):
        if index > 1:
            raise IndexError("no such batch")
        return super().__getitem__(index)


def test_errors_of_a_dataset_are_passed_on(tmp_path):
    with pytest.raises(IndexError, match="no such batch"):
        caching.build(tmp_path, dataset=Shrinking(X))


class Padded(keras.utils.PyDataset):
    """Texts of 4 words, and then texts of 5."""

    def __len__(self):
        return 2

    def __getitem__(self, index):
        return (np.ones((8, 4 + index), "int32"),)


def test_logits_of_several_shapes_are_refused(tmp_path):
    layer = layers.Embedding(models.WORDS, models.CLASSES)
    teacher = keras.Sequential([keras.Input((None,)), layer])
    with pytest.raises(ValueError, match="the same shape for each example"):
        caching.build(tmp_path, teacher, Padded())


def too_large(dtype):
    return {"float16": 65520.0, "bfloat16": 3.39e38}[dtype]


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("sign", [1, -1])
def test_logits_out_of_range_are_refused(dtype, sign, tmp_path):
    teacher = with_bias(0, sign * too_large(dtype), 0)
    with pytest.raises(ValueError, match=f"do not fit into {dtype}.*Pass dty"):
        caching.build(tmp_path, teacher, dtype=dtype)
    # The remedy of the message works, in the same folder.
    cache = caching.build(tmp_path, teacher, dtype="float32")
    assert np.abs(cache.logits()).max() >= too_large(dtype)


def test_values_are_checked_in_every_batch(tmp_path):
    x = X.copy()
    x[17] = np.nan
    with pytest.raises(ValueError, match="are not finite. Received: 3 of 12"):
        caching.build(tmp_path, models.linear(), x)
    names = [path.name.split("-")[1] for path in caching.shards(tmp_path)]
    assert names == ["00000", "00001"]


# A folder of something else.


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    caching.build(folder)
    return folder


@pytest.fixture
def folder(whole, tmp_path):
    return shutil.copytree(whole, tmp_path / "copy")


def zeros(x):
    """A teacher of two classes."""
    return np.zeros((len(keras.tree.flatten(x)[0]), 2))


# One row: id, what is built, and how the message must begin.
OTHER = {
    "weights": (
        {"model": lambda: caching.teacher(seed=3)},
        "another teacher, or the same one with other weights. Received: "
        "teacher ",
    ),
    "units": ({"model": lambda: caching.teacher(units=5)}, "another teacher,"),
    "fingerprint": (
        {"model": lambda: zeros, "fingerprint": "mine@v1"},
        "another teacher, or the same one with other weights. Received: "
        "teacher 'mine@v1', expected teacher ",
    ),
    "examples": (
        {"dataset": lambda: X[:-1]},
        "another number of examples. Received: 19 examples, expected 20 "
        "examples. ",
    ),
    "more": (
        {"dataset": lambda: np.concatenate([X, X])},
        "another number of batches. Received: 5 batches, expected 3 batches. ",
    ),
    "order": (
        {"dataset": lambda: X[::-1].copy()},
        "another dataset, or another order of its examples. Received: a "
        "first batch with checksum ",
    ),
    "inputs": (
        {"dataset": lambda: X.astype("float64")},
        "other inputs. Received: inputs of shape (4,) and dtype float64, "
        "expected inputs of shape (4,) and dtype float32. ",
    ),
    "batches": (
        {"batch_size": 4},
        "another batch size. Received: batches of 4 examples, expected "
        "batches of 8 examples. ",
    ),
    "classes": (
        {
            "model": lambda: zeros,
            "fingerprint": lambda: fingerprint(caching.teacher()),
        },
        "other logits. Received: logits of shape (2,), expected logits of "
        "shape (3,). ",
    ),
    "dtype": (
        {"dtype": "float16"},
        "another dtype. Received: dtype='float16', expected dtype='float32'. ",
    ),
    "top_k": (
        {"top_k": 2},
        "another top_k. Received: top_k=2, expected top_k=None. ",
    ),
    "shards": (
        {"shard_examples": 16},
        "another shard size. Received: shards of 16 examples, expected shards "
        "of 8 examples. ",
    ),
}


@pytest.mark.parametrize("name", OTHER)
def test_another_build_in_the_same_folder_is_refused(name, folder):
    if name in ("weights", "order", "dtype"):
        caching.unfinish(folder)
    before = caching.contents(folder)
    arguments, message = OTHER[name]
    arguments = {k: v() if callable(v) else v for k, v in arguments.items()}
    with pytest.raises(ValueError) as raised:
        caching.build(folder, **arguments)
    text = str(raised.value).removeprefix(str(folder))
    start = " holds a teacher cache of something else: "
    assert text.startswith(start + message)
    assert "Nothing was changed. Pass the same arguments as before" in text
    assert text.endswith("to replace it, delete this folder first.")
    assert len(text) < 400
    assert caching.contents(folder) == before


def test_of_many_inputs_those_that_differ_are_named(tmp_path):
    names = [f"sensor {number}" for number in range(50)]
    x = {name: np.zeros((8, 2), "float32") for name in names}
    y = x | {"sensor 7": np.zeros((8, 3), "float32")}
    arguments = {"model": zeros, "fingerprint": "zeros"}
    caching.build(tmp_path, dataset=x, **arguments)
    message = (
        r"other inputs. Received: sensor 7 of shape \(3,\) and dtype float32, "
        r"expected sensor 7 of shape \(2,\) and dtype float32. Nothing"
    )
    with pytest.raises(ValueError, match=message):
        caching.build(tmp_path, dataset=y, **arguments)
    del y["sensor 7"]
    message = "Received: no other inputs, expected sensor 7 of shape"
    with pytest.raises(ValueError, match=message):
        caching.build(tmp_path, dataset=y, **arguments)


OPENED = {
    "weights": (
        lambda: caching.teacher(seed=3),
        ValueError,
        "made by another teacher.*expected .*another folder",
    ),
    "unbuilt": (models.unbuilt, ValueError, "must be built"),
    "no model": (lambda: "t", TypeError, "`teacher` must be a keras.Model"),
}


@pytest.mark.parametrize("name", OPENED)
def test_another_teacher_does_not_open_the_cache(name, whole):
    make, error, message = OPENED[name]
    with pytest.raises(error, match=message):
        kd.TeacherCache(whole, make())


def test_a_folder_with_other_files_is_refused(tmp_path):
    (tmp_path / "thesis.txt").write_text("precious")
    before = caching.contents(tmp_path)
    with pytest.raises(ValueError, match="must be empty.*'thesis.txt'"):
        caching.build(tmp_path)
    assert caching.contents(tmp_path) == before


def test_a_file_in_the_place_of_the_folder_is_refused(tmp_path):
    path = tmp_path / "file"
    path.write_text("precious")
    with pytest.raises(OSError, match="file"):
        caching.build(path)
    assert path.read_text() == "precious"
    with pytest.raises(ValueError, match="There is no teacher cache"):
        kd.TeacherCache(path)


def test_a_file_that_is_named_like_a_shard_is_refused(folder):
    (folder / "shard-of-glass.npy").write_text("precious")
    before = caching.contents(folder)
    with pytest.raises(ValueError, match="shard-of-glass.npy"):
        caching.build(folder)
    assert caching.contents(folder) == before
