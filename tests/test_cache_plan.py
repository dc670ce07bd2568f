"""Plans of caches: known before anything is written."""

import dataclasses
import inspect

import caching
import numpy as np
import pytest

import keras_distill as kd
from keras_distill.cache import _build, _plan

X, Y = caching.data()
OPTIONS = _plan.Options(
    dtype="float32", top_k=None, batch_size=8, shard_examples=None, verbose=0
)


def plan(folder, function, dataset, **options):
    build = _build.prepare(
        function,
        "mine",
        dataset,
        folder,
        dataclasses.replace(OPTIONS, **options),
    )
    return build.plan


def zeros(classes):
    return lambda x: np.zeros((len(x), classes), "float32")


def test_a_plan_writes_nothing(tmp_path):
    found = plan(tmp_path / "new", zeros(3), X)
    assert (found.batches, found.batch_size, found.shards) == (3, 8, 1)
    assert not (tmp_path / "new").exists()


def test_equal_arguments_make_equal_plans(tmp_path):
    first = plan(tmp_path / "a", zeros(3), X)
    assert plan(tmp_path / "b", zeros(3), (X, Y)) == first
    assert plan(tmp_path / "c", zeros(4), X) != first
    assert plan(tmp_path / "d", zeros(3), X, top_k=2) != first


def test_shards_cover_all_batches_once(tmp_path):
    found = plan(tmp_path, zeros(3), X, batch_size=2, shard_examples=6)
    batches = [found.batches_of(shard) for shard in range(found.shards)]
    assert batches == [range(0, 3), range(3, 6), range(6, 9), range(9, 10)]


MIB = 2**20


@pytest.mark.parametrize(
    "classes, options, size",
    [
        (MIB, {}, 4 * MIB),
        (MIB, {"dtype": "float16"}, 2 * MIB),
        (2**18, {"batch_size": 4}, 4 * MIB),
    ],
)
def test_shards_of_many_classes_hold_at_most_64_mib(
    classes, options, size, tmp_path
):
    options = {"batch_size": 1} | options
    found = plan(tmp_path, zeros(classes), X, **options)
    # A checksum is kept beside the logits, so that the last batch has no room.
    assert found.batches_per_shard == 64 * MIB // size - 1


@pytest.mark.parametrize("batch_size, batches", [(8, 1024), (3, 2730)])
def test_shards_of_few_classes_hold_at_most_8192_examples(
    batch_size, batches, tmp_path
):
    found = plan(tmp_path, zeros(3), X, batch_size=batch_size)
    assert found.batches_per_shard == batches


# The arguments that users give.


def keywords(function):
    parameters = inspect.signature(function).parameters.values()
    return {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY}


def test_build_and_build_part_take_the_same_options():
    of_build = keywords(kd.TeacherCache.build)
    of_part = keywords(kd.TeacherCache.build_part)
    assert of_part.pop("worker") is of_part.pop("num_workers")
    assert of_part == of_build
    names = {field.name for field in dataclasses.fields(_plan.Options)}
    assert of_build.keys() == {"fingerprint", *names}


@pytest.mark.parametrize("name", ["build", "build_part"])
def test_an_argument_that_is_not_there_is_named(name):
    call = getattr(kd.TeacherCache, name)
    workers = {"worker": 0, "num_workers": 1} if name == "build_part" else {}
    message = rf"\b{name}\(\) got an unexpected keyword argument 'topk'"
    with pytest.raises(TypeError, match=message):
        call(caching.teacher(), X, "folder", topk=2, **workers)


def test_options_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        OPTIONS.dtype = "float16"
