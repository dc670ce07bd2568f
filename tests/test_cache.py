"""What a build keeps of a teacher, from every kind of model and dataset."""

import ast
import hashlib
import json
import shutil

import caching
import keras
import ml_dtypes
import models
import numpy as np
import pytest
import reference
from caching import BATCH, EXAMPLES
from keras import layers

import keras_distill as kd

BACKEND = keras.backend.backend()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A cache made from arrays, which no test may change."""
    folder = tmp_path_factory.mktemp("cache")
    caching.build(folder)
    return folder


@pytest.fixture
def copy(folder, tmp_path):
    return shutil.copytree(folder, tmp_path / "copy")


# Teachers of each kind.


def called(model, x):
    model(keras.tree.map_structure(lambda a: keras.ops.array(a[:1]), x))
    return model


def images():
    keras.utils.set_random_seed(1)
    stack = [layers.Rescaling(1 / 255), layers.Flatten(), layers.Dense(3)]
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (EXAMPLES, 5, 5, 1)).astype("uint8")
    return keras.Sequential([keras.Input((5, 5, 1)), *stack]), pixels


def two_inputs(named):
    x, _ = caching.data()
    x = {"a": x, "b": 2 * x} if named else (x, 2 * x)
    return models.two_inputs(named), x


class TwoInputs(keras.Model):
    """Inputs of two shapes, whose names are not in the order of their use."""

    def __init__(self):
        keras.utils.set_random_seed(1)
        super().__init__()
        self.heads = layers.Dense(3), layers.Dense(3)

    def call(self, inputs):
        b, a = (h(inputs[n]) for h, n in zip(self.heads, "ba", strict=True))
        return a + b


def unsorted_inputs():
    x = {"b": X, "a": X[:, :2]}
    return called(TwoInputs(), x), x


def strings():
    keras.utils.set_random_seed(1)
    inputs = keras.Input((2,), dtype="string")
    numbers = layers.StringLookup(vocabulary=["a", "b"])(inputs)
    hidden = layers.Flatten()(layers.Embedding(3, 4)(numbers))
    words = [["a", "b"], ["b", "?"]] * (EXAMPLES // 2)
    x = keras.ops.convert_to_tensor(words, "string")
    return keras.Model(inputs, layers.Dense(3)(hidden)), x


X, Y = caching.data()
TEACHERS = {
    "sequential": lambda: (models.sequential(), X),
    "functional": lambda: (models.functional(), X),
    "subclassed": lambda: (called(models.Subclassed(), X), X),
    "ensemble": lambda: (
        kd.Ensemble([models.sequential(), models.linear()]),
        X,
    ),
    "dropout": lambda: (models.noisy(), X),
    "time": lambda: (models.tagger(), models.sequences(EXAMPLES)[0]),
    "dict": lambda: two_inputs(named=True),
    "tuple": lambda: two_inputs(named=False),
    "unsorted": unsorted_inputs,
    "uint8": images,
    "float64": lambda: (models.sequential(), X.astype("float64")),
    "bfloat16": lambda: (
        models.with_policy("mixed_bfloat16", models.sequential),
        X,
    ),
    "strings": strings,
}
only_tensorflow = pytest.mark.skipif(
    BACKEND != "tensorflow", reason="only TensorFlow has tensors of strings"
)


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=only_tensorflow if name == "strings" else ())
        for name in TEACHERS
    ],
)
def test_logits_are_those_that_the_teacher_predicts(name, tmp_path):
    teacher, x = TEACHERS[name]()
    # Batches of several sizes take long to compile.
    size = BATCH if name == "sequential" else EXAMPLES // 2
    cache = caching.build(tmp_path, teacher, (x,), batch_size=size)
    expected = teacher.predict(x, batch_size=size, verbose=0)
    np.testing.assert_array_equal(cache.logits(), expected.astype("float32"))


# With axes of every number, named and not; the graph of some is not known.
SEVERAL = ["subclassed", "ensemble", "time", "unsorted", "tuple", "uint8"]


@pytest.mark.parametrize("kind", caching.OF_EXAMPLES)
@pytest.mark.parametrize("name", SEVERAL)
def test_examples_are_batched_for_every_teacher(kind, name, tmp_path):
    teacher, x = TEACHERS[name]()
    caching.build(tmp_path / "arrays", teacher, (x,))
    caching.build(tmp_path / "examples", teacher, kind(x))
    files = caching.contents(tmp_path / "examples")
    assert files == caching.contents(tmp_path / "arrays")


ROUNDED = {"float16": "float16", "bfloat16": ml_dtypes.bfloat16}


@pytest.mark.parametrize("dtype, rounded", ROUNDED.items(), ids=ROUNDED)
def test_logits_are_rounded_once(dtype, rounded, folder, tmp_path):
    exact = kd.TeacherCache(folder).logits()
    found = caching.build(tmp_path, dtype=dtype).logits()
    expected = exact.astype(rounded).astype("float32")
    np.testing.assert_array_equal(found, expected)


def test_top_k_keeps_probabilities(folder, tmp_path):
    found = reference.softmax(caching.build(tmp_path, top_k=2).logits())
    expected = reference.softmax(kd.TeacherCache(folder).logits())
    np.testing.assert_allclose(found, expected, rtol=1e-5)


# The teacher stays as it was.


def test_the_teacher_is_not_changed(tmp_path):
    teacher = models.noisy()
    teacher.layers[1].trainable = False
    before = models.snapshot(teacher)
    caching.build(tmp_path, teacher)
    models.assert_same(models.snapshot(teacher), before)
    assert len(before) > len(teacher.weights), "no state of a seed"
    flags = [layer.trainable for layer in teacher.layers]
    assert flags == [True, False, True, True, True]


def test_the_teacher_runs_in_inference_mode(tmp_path):
    teacher = models.Recorder(models.noisy())
    caching.build(tmp_path, teacher)
    assert teacher.calls and not any(teacher.calls)


# Datasets of each kind.

DATASETS = {
    "arrays": caching.arrays,
    "Batches": caching.Batches,
    "grain_examples": caching.grain_examples,
    "grain_batches": caching.grain_batches,
    "tf_examples": caching.tf_examples,
    "tf_batches": caching.tf_batches,
    "threads": lambda *data: caching.Batches(*data, workers=3),
    "tensors": lambda *data: tuple(map(keras.ops.convert_to_tensor, data)),
    "unlabelled": lambda x, y: x,
    "weighted": lambda x, y: (x, y, y),
    "tf_unknown_examples": lambda *data: caching.tf_examples(*data).filter(
        lambda x, y: True
    ),
    "tf_unknown_batches": lambda *data: caching.tf_batches(*data).filter(
        lambda x, y: True
    ),
    "tf_unlabelled": lambda x, y: caching.tf_examples(x).map(lambda x: x),
}


@pytest.mark.parametrize("name", caching.names(DATASETS))
def test_every_kind_of_dataset_gives_the_same_bytes(name, folder, tmp_path):
    caching.build(tmp_path, dataset=DATASETS[name](*caching.data()))
    assert caching.contents(tmp_path) == caching.contents(folder)


WRAPPED = {
    "classes": lambda model: kd.select_classes(model, [2, 0]),
    "ensemble": lambda model: kd.Ensemble([model]),
    "probabilities": kd.LogProbabilities,
}


@pytest.mark.parametrize("name", WRAPPED)
def test_examples_are_told_from_batches_also_for_models_of_models(
    name, tmp_path
):
    model = WRAPPED[name](
        keras.Sequential(
            [keras.Input((models.FEATURES,)), keras.layers.Dense(3, "softplus")]
        )
    )
    x, y = caching.data()
    cache = caching.build(tmp_path, model, caching.grain_examples(x, y))
    expected = models.logits(model, x)
    np.testing.assert_allclose(cache.logits(), expected, rtol=1e-5)


DROPPING = {
    "grain": lambda *data: caching.grain_examples(*data).batch(
        BATCH, drop_remainder=True
    ),
    "tf": lambda *data: caching.tf_examples(*data).batch(
        BATCH, drop_remainder=True
    ),
}


@pytest.mark.parametrize("name", caching.names(DROPPING))
def test_a_remainder_may_be_dropped(name, folder, tmp_path):
    cache = caching.build(tmp_path, dataset=DROPPING[name](*caching.data()))
    assert len(cache) == 16
    expected = kd.TeacherCache(folder).logits(0, 16)
    np.testing.assert_array_equal(cache.logits(), expected)


# The folder.


def test_manifest_tells_what_the_cache_holds(folder):
    manifest = json.loads((folder / "manifest.json").read_text())
    assert sorted(manifest) == [
        *("batches_per_shard", "dataset", "examples", "format", "logits"),
        *("sha256", "shards", "teacher", "version"),
    ]
    assert manifest["format"] == "keras_distill.TeacherCache"
    assert manifest["version"] == 1
    assert manifest["logits"] == {
        **{"shape": [models.CLASSES], "dtype": "float32", "top_k": None}
    }
    dataset = manifest["dataset"]
    assert len(dataset.pop("first_inputs_crc32")) == BATCH
    x = {"name": "", "shape": [models.FEATURES], "dtype": "float32"}
    assert dataset == {"inputs": [x], "batches": 3, "batch_size": BATCH}


def test_manifest_holds_a_checksum_of_each_shard(folder):
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["examples"] == EXAMPLES
    entries = manifest["shards"]
    assert [entry["examples"] for entry in entries] == [8, 8, 4]
    for entry, path in zip(entries, caching.shards(folder), strict=True):
        data = path.read_bytes()
        digest = hashlib.sha256(data).hexdigest()
        assert (entry["file"], entry["bytes"]) == (path.name, len(data))
        assert entry["sha256"] == digest and digest in path.name


# Digests of manifests, which hold digests of the shards, from before records,
# plans and files were parted from each other, and fingerprints had a version.
TEACHER = "1a206ac230606fccb3857b284b45d2511752176f02baf08e6101162f3261480d"
FORMAT_1 = {
    "dense": (
        {"dtype": "float32"},
        "edb4364e41fd6fa52389f6df6b8f6ef88715ec10f2c9ec39ff1ca01271394d27",
    ),
    "largest": (
        {"dtype": "bfloat16", "top_k": 2},
        "464af910a31432a4879c5583dbce3b311958117c55553986c64ad5cdf59a6758",
    ),
}


def of_text(content):
    text = json.dumps(content, indent=1, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


@pytest.mark.parametrize("name", FORMAT_1)
def test_bytes_of_format_1(name, tmp_path):
    arguments, digest = FORMAT_1[name]
    x = np.arange(4 * EXAMPLES, dtype="float32").reshape(EXAMPLES, 4)
    caching.build(tmp_path, caching.identity(), x, **arguments)
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    assert manifest.pop("sha256") == of_text(manifest)
    assert of_text(manifest | {"teacher": TEACHER}) == digest


@pytest.mark.parametrize("mmap_mode", [None, "r"])
def test_shards_are_read_by_numpy_alone(folder, mmap_mode):
    parts = [
        np.load(path, mmap_mode=mmap_mode, allow_pickle=False)["logits"]
        for path in caching.shards(folder)
    ]
    expected = kd.TeacherCache(folder).logits()
    np.testing.assert_array_equal(np.concatenate(parts), expected)
    names = [path.name for path in caching.shards(folder)]
    assert list(caching.contents(folder)) == ["manifest.json", *names]


@pytest.mark.parametrize(
    "shard_examples, shards", [(None, 1), (1, 3), (8, 3), (15, 3), (20, 2)]
)
def test_shards_hold_whole_batches(shard_examples, shards, tmp_path):
    caching.build(tmp_path, shard_examples=shard_examples)
    assert len(caching.shards(tmp_path)) == shards


def test_numpy_integers_are_whole_numbers(folder, tmp_path):
    caching.build(
        tmp_path, batch_size=np.int64(BATCH), shard_examples=np.int64(BATCH)
    )
    assert caching.contents(tmp_path) == caching.contents(folder)
    cache = caching.build(tmp_path / "top", top_k=np.int64(2))
    assert cache.manifest["logits"]["top_k"] == 2


# Building again.


def test_a_finished_cache_is_opened(folder):
    def state():
        return [(p.name, p.stat().st_mtime_ns) for p in folder.iterdir()]

    before, files = state(), caching.contents(folder)
    dataset = caching.Batches(*caching.data())
    cache = caching.build(folder, dataset=dataset)
    assert len(cache) == EXAMPLES and set(dataset.reads) == {0}
    assert (state(), caching.contents(folder)) == (before, files)


@pytest.mark.parametrize("lost", [0, 1, 2])
@pytest.mark.parametrize("finished", [True, False])
def test_only_what_is_missing_is_made(lost, finished, folder, copy):
    if not finished:
        caching.unfinish(copy)
    caching.shards(copy)[lost].unlink()
    dataset = caching.Batches(*caching.data())
    caching.build(copy, dataset=dataset)
    assert set(dataset.reads) == {0, lost}
    assert caching.contents(copy) == caching.contents(folder)


def test_what_a_killed_build_left_is_removed(folder, copy):
    caching.unfinish(copy)
    (copy / f"{'0123456789abcdef' * 2}.tmp").write_bytes(b"half")
    caching.build(copy)
    assert caching.contents(copy) == caching.contents(folder)


def test_files_of_others_are_left_alone(tmp_path):
    (tmp_path / "notes.tmp").write_text("precious")
    caching.build(tmp_path)
    assert (tmp_path / "notes.tmp").read_text() == "precious"


# The opened cache.


def test_cache_tells_what_it_is(folder):
    teacher = models.sequential()
    cache = kd.TeacherCache(folder, teacher)
    assert (len(cache), cache.classes) == (EXAMPLES, models.CLASSES)
    distiller = models.distiller(teacher, models.linear())
    fingerprint = distiller.get_config()["teacher_fingerprint"]
    assert cache.teacher_fingerprint == fingerprint
    assert "20 examples, 3 classes, float32" in repr(cache)


def test_reading_parses_nothing(folder, monkeypatch):
    """Python's parser, as np.load uses it, fails now and then in threads."""
    whole = kd.TeacherCache(folder).logits()

    def parse(*_, **__):
        raise SystemError("AST constructor recursion depth mismatch")

    with monkeypatch.context() as patch:
        patch.setattr(ast, "parse", parse)
        found = kd.TeacherCache(folder).logits(3, 17)
    np.testing.assert_array_equal(found, whole[3:17])


def test_ranges_of_logits(folder):
    cache = kd.TeacherCache(folder)
    whole = cache.logits()
    for start in range(EXAMPLES):
        for stop in range(start + 1, EXAMPLES + 1):
            part = cache.logits(start, stop)
            np.testing.assert_array_equal(part, whole[start:stop])


@pytest.mark.parametrize("start", [0, 3, 8, 20])
def test_an_empty_range_of_logits(folder, start):
    assert kd.TeacherCache(folder).logits(start, start).shape == (0, 3)


@pytest.mark.parametrize("start, stop", [(-1, 3), (0, 21), (5, 4)])
def test_ranges_that_are_not_there_are_refused(folder, start, stop):
    with pytest.raises(ValueError, match="does not hold these examples"):
        kd.TeacherCache(folder).logits(start, stop)


def test_size_and_progress_are_printed_unless_told_not_to(tmp_path, capsys):
    caching.build(tmp_path / "quiet")
    assert capsys.readouterr().out == ""
    caching.build(tmp_path / "loud", top_k=2, verbose=1)
    out = capsys.readouterr().out
    assert "top 2 of 3 classes in float32, 20 bytes per example" in out
    assert "480 bytes needed" in out and "0 of 3 shards" in out and "3/3" in out
