"""Caches that outlive kills, full disks, damage and several machines."""

import contextlib
import errno
import json
import os
import resource
import shutil
import stat
import subprocess
import sys

import cache_worker
import caching
import models
import numpy as np
import pytest

import keras_distill as kd
from keras_distill.cache import _build, _shards


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A finished cache; tests change copies of it."""
    folder = tmp_path_factory.mktemp("whole")
    caching.build(folder)
    return folder


@pytest.fixture
def folder(whole, tmp_path):
    return shutil.copytree(whole, tmp_path / "cache")


@pytest.fixture
def killed(folder):
    """What a build leaves that is killed before its last shard."""
    caching.unfinish(folder)
    caching.shards(folder)[-1].unlink()
    return folder


# Processes.


@pytest.fixture(scope="module")
def worker(tmp_path_factory):
    """The folder of a worker that is done, and what each kill left."""
    folder = tmp_path_factory.mktemp("worker")
    # Hashes of strings differ from those of this process.
    environment = {**os.environ, "PYTHONHASHSEED": "7"}
    done = subprocess.run(
        [sys.executable, cache_worker.__file__, str(folder)],
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return folder, json.loads(done.stdout)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """Files of the worker's cache when nothing happens, made here."""
    folder = tmp_path_factory.mktemp("undisturbed")
    cache_worker.build(folder)
    return caching.contents(folder)


@pytest.mark.slow
def test_a_killed_build_goes_on_to_the_same_bytes(worker, undisturbed):
    folder, kills = worker
    counts = [sum(".npy" in name for name in names) for names in kills]
    assert counts == sorted(counts)
    within = [0 < count < cache_worker.SHARDS for count in counts]
    assert sum(within) >= 10
    for names in kills:
        left = {name for name in names if not name.endswith(".tmp")}
        assert left <= {*undisturbed, "build.json"}
    assert caching.contents(folder / "killed") == undisturbed


@pytest.mark.slow
def test_workers_share_a_folder_and_nothing_else(worker, undisturbed):
    folder = worker[0] / "parts"
    with pytest.raises(ValueError, match="unfinished"):
        kd.TeacherCache(folder)
    dataset = cache_worker.Slow()
    cache_worker.build(folder, dataset)
    assert set(dataset.reads) == {0}, "the teacher ran again"
    assert caching.contents(folder) == undisturbed


@pytest.mark.slow
def test_several_may_build_all_of_it_at_once(worker, undisturbed):
    assert caching.contents(worker[0] / "whole") == undisturbed


def test_a_file_that_another_process_tidied_away_is_written_again(
    whole, tmp_path, monkeypatch
):
    tidied = []

    def replace(source, target, original=os.replace):
        if target.name not in tidied:
            tidied.append(target.name)
            os.unlink(source)
        original(source, target)

    monkeypatch.setattr(os, "replace", replace)
    caching.build(tmp_path)
    assert len(tidied) == 5  # The plan, three shards and the manifest.
    assert caching.contents(tmp_path) == caching.contents(whole)


def test_a_plan_may_give_way_to_a_manifest_while_it_is_looked_for(
    killed, whole, monkeypatch
):
    def read(path, original=_shards.read_json):
        monkeypatch.setattr(_shards, "read_json", original)
        try:
            return original(path)
        finally:
            caching.build(killed)  # Another process is done.

    monkeypatch.setattr(_shards, "read_json", read)
    found = _build.present_plan(killed)
    assert found["examples"] == caching.EXAMPLES
    assert caching.contents(killed) == caching.contents(whole)


def build_part(folder, worker, num_workers=3, dataset=None, **arguments):
    kd.TeacherCache.build_part(
        caching.teacher(),
        caching.data() if dataset is None else dataset,
        folder,
        worker=worker,
        num_workers=num_workers,
        **{"dtype": "float32", "batch_size": 8, "shard_examples": 8},
        verbose=0,
        **arguments,
    )


@pytest.mark.parametrize("num_workers", [1, 2, 3, 5])
def test_a_worker_reads_its_part_only(num_workers, whole, tmp_path):
    reads = []
    for worker in range(num_workers):
        dataset = caching.Batches(*caching.data())
        build_part(tmp_path, worker, num_workers, dataset)
        reads += dataset.reads
        dataset.reads.clear()
        build_part(tmp_path, worker, num_workers, dataset)
        assert set(dataset.reads) == {0}, "it is done already"
    # All look at the first batch, to know the dataset.
    assert sorted(filter(None, reads)) == [1, 2]
    caching.build(tmp_path)
    assert caching.contents(tmp_path) == caching.contents(whole)


@pytest.mark.parametrize("lost", range(3))
def test_shards_of_a_lost_worker_are_made(lost, whole, tmp_path):
    for worker in {0, 1, 2} - {lost}:
        build_part(tmp_path, worker)
    dataset = caching.Batches(*caching.data())
    caching.build(tmp_path, dataset=dataset)
    assert set(dataset.reads) == {0, lost}
    assert caching.contents(tmp_path) == caching.contents(whole)


def test_a_worker_may_begin_while_another_begins(tmp_path, monkeypatch):
    def read_plan(folder, original=_build.present_plan):
        monkeypatch.setattr(_build, "present_plan", original)
        found = original(folder)
        build_part(tmp_path, 1)  # The other one is first to write its plan.
        return found

    monkeypatch.setattr(_build, "present_plan", read_plan)
    build_part(tmp_path, 0)
    assert len(caching.shards(tmp_path)) == 2


WORKERS = [(-1, 3), (3, 3), (1.0, 3), ("0", 3), (True, 3), (None, 3)]


@pytest.mark.parametrize("worker, num_workers", WORKERS)
def test_a_worker_that_is_not_there_is_refused(worker, num_workers, tmp_path):
    with pytest.raises(ValueError, match="`worker` must be .* from 0 to 2"):
        build_part(tmp_path / "new", worker, num_workers)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("num_workers", [0, -1, 1.5, None])
def test_no_workers_are_refused(num_workers, tmp_path):
    with pytest.raises(ValueError, match="`num_workers` must be a whole"):
        build_part(tmp_path, 0, num_workers)


# Damage.


def positions(path):
    """Bytes of every part of a shard: magic, header, records, first, last."""
    size = path.stat().st_size
    data = path.read_bytes().index(b"\n") + 1
    return [0, 6, 8, 10, data - 1, data, data + 3, data + 4, size - 1]


@pytest.mark.parametrize("number", range(3))
def test_a_flipped_byte_of_a_shard_is_found(number, whole, folder):
    cache = kd.TeacherCache(whole)
    path = caching.shards(folder)[number]
    start = 8 * number
    x, _ = caching.data()
    for position in positions(path):
        caching.flip(path, position)
        for read in [
            lambda fresh: fresh.verify(),
            lambda fresh: fresh.logits(start, start + 1),
            lambda fresh: fresh.lookup(start, x[start : start + 1]),
            lambda fresh: fresh.attach(x),
        ]:
            with pytest.raises(ValueError, match=f"damaged.*{path.name}"):
                read(kd.TeacherCache(folder))
        caching.flip(path, position)
    kd.TeacherCache(folder).verify()
    found = kd.TeacherCache(folder).logits()
    np.testing.assert_array_equal(found, cache.logits())


@pytest.mark.once
@pytest.mark.parametrize("mask", [1, 0x20])
def test_any_flipped_byte_of_the_manifest_is_found(mask, folder):
    path = folder / "manifest.json"
    for position in range(path.stat().st_size):
        caching.flip(path, position, mask)
        with pytest.raises(ValueError, match="damaged|another format"):
            kd.TeacherCache(folder)
        caching.flip(path, position, mask)
    kd.TeacherCache(folder)


@pytest.mark.once
@pytest.mark.parametrize("mask", [1, 0x20])
def test_any_flipped_byte_of_the_plan_is_found(mask, killed):
    path = killed / "build.json"
    for position in range(path.stat().st_size):
        caching.flip(path, position, mask)
        with pytest.raises(ValueError, match="damaged|another format"):
            _build.present_plan(killed)
        caching.flip(path, position, mask)
    assert _build.present_plan(killed)


@contextlib.contextmanager
def unchanged(folder):
    before = caching.contents(folder)
    yield
    assert caching.contents(folder) == before


def cut(path):
    with open(path, "r+b") as file:
        file.truncate(path.stat().st_size // 2)


def empty(path):
    path.write_bytes(b"")


def lengthen(path):
    with open(path, "ab") as file:
        file.write(b"\0")


def delete(path):
    path.unlink()


@pytest.mark.parametrize("damage", [cut, empty, lengthen, delete])
def test_a_shard_of_another_size_is_found_on_opening(damage, folder):
    damage(caching.shards(folder)[1])
    with unchanged(folder), pytest.raises(ValueError, match="missing or cut"):
        kd.TeacherCache(folder)
    cache = kd.TeacherCache.__new__(kd.TeacherCache)
    cache.folder = folder
    with pytest.raises(ValueError, match="missing or cut"):
        cache.verify()


@pytest.mark.parametrize("damage", [cut, empty, lengthen, caching.flip_shape])
@pytest.mark.parametrize("finished", [True, False])
def test_a_build_refuses_a_damaged_shard(damage, finished, folder):
    if not finished:
        caching.unfinish(folder)
    damage(caching.shards(folder)[1])
    with (
        unchanged(folder),
        pytest.raises(ValueError, match="damaged|missing or cut off"),
    ):
        caching.build(folder)


@pytest.mark.parametrize("name", ["manifest.json", "build.json"])
def test_a_damaged_plan_is_not_built_upon(name, folder):
    if name == "build.json":
        caching.unfinish(folder)
    caching.flip(folder / name, 100)
    with unchanged(folder), pytest.raises(ValueError, match=f"damaged.*{name}"):
        caching.build(folder)


@pytest.mark.parametrize(
    "change", [{"version": 2}, {"version": None}, {"format": "other"}]
)
@pytest.mark.parametrize("name", ["manifest.json", "build.json"])
def test_another_format_is_refused(name, change, folder):
    if name == "build.json":
        caching.unfinish(folder)
    content = json.loads((folder / name).read_text())
    del content["sha256"]
    data = _shards.to_bytes({**content, **change})
    (folder / name).write_bytes(data)
    calls = [caching.build]
    if name == "manifest.json":
        calls.append(kd.TeacherCache)
    for call in calls:
        with (
            unchanged(folder),
            pytest.raises(ValueError, match="has another f"),
        ):
            call(folder)


def test_without_manifest_there_is_no_cache(folder):
    (folder / "manifest.json").unlink()
    with unchanged(folder):
        with pytest.raises(
            ValueError, match="no teacher cache.*3 shards and no"
        ):
            kd.TeacherCache(folder)
        with pytest.raises(ValueError, match="must be empty or hold a teacher"):
            caching.build(folder)


@pytest.mark.parametrize("name", ["", "nowhere"])
def test_other_folders_hold_no_cache(name, tmp_path):
    with pytest.raises(ValueError, match="There is no teacher cache.*Build"):
        kd.TeacherCache(tmp_path / name)


def test_an_unfinished_cache_is_not_opened(killed):
    message = "unfinished.*with 2 shards.*to finish it"
    with unchanged(killed), pytest.raises(ValueError, match=message):
        kd.TeacherCache(killed)


def test_two_versions_of_a_shard_are_refused(killed):
    path = caching.shards(killed)[0]
    shutil.copy(path, killed / f"shard-00000-{'0' * 64}.npy")
    with unchanged(killed), pytest.raises(ValueError, match="two versions"):
        caching.build(killed)


# Disks.


def test_a_full_disk_loses_no_finished_shard(whole, tmp_path, monkeypatch):
    before, most = resource.getrlimit(resource.RLIMIT_FSIZE)

    def replace(source, target, original=os.replace):
        original(source, target)
        if caching.shards(tmp_path):
            resource.setrlimit(resource.RLIMIT_FSIZE, (100, most))

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", replace)
        try:
            with pytest.raises(OSError, match="while writing shard-0") as error:
                caching.build(tmp_path)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (before, most))
    assert error.value.errno == errno.EFBIG
    assert "Nothing that was finished is lost" in str(error.value)
    assert "make the same call again to go on" in str(error.value)
    first = caching.shards(whole)[0].name
    assert list(caching.contents(tmp_path)) == ["build.json", first]
    caching.build(tmp_path)
    assert caching.contents(tmp_path) == caching.contents(whole)


@pytest.mark.parametrize("call", ["fsync", "replace"])
@pytest.mark.parametrize(
    "code, kind", [(errno.ENOSPC, OSError), (errno.EACCES, PermissionError)]
)
def test_a_failing_disk_loses_nothing(
    call, code, kind, killed, whole, monkeypatch
):
    def fail(*arguments):
        raise OSError(code, os.strerror(code))

    with monkeypatch.context() as patch, unchanged(killed):
        patch.setattr(os, call, fail)
        with pytest.raises(kind, match="while writing shard-00002") as error:
            caching.build(killed)
    assert error.value.errno == code
    caching.build(killed)
    assert caching.contents(killed) == caching.contents(whole)


def test_files_are_on_the_disk_before_they_are_named(tmp_path, monkeypatch):
    calls = []

    def fsync(descriptor):
        folder = stat.S_ISDIR(os.fstat(descriptor).st_mode)
        calls.append("sync folder" if folder else "sync file")

    def replace(*paths, original=os.replace):
        calls.append("name file")
        original(*paths)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "replace", replace)
    caching.build(tmp_path)
    # The plan, three shards and the manifest.
    assert calls == ["sync file", "name file", "sync folder"] * 5


def test_a_build_in_a_read_only_folder_is_refused(killed):
    with unchanged(killed), caching.read_only(killed):
        with pytest.raises(PermissionError, match="while writing shard-00002"):
            caching.build(killed)


@pytest.mark.parametrize("kind", caching.KINDS)
def test_reading_writes_nothing(kind, folder):
    def state():
        return {
            p.name: (p.stat().st_mtime_ns, p.stat().st_ino)
            for p in folder.iterdir()
        }

    before = state()
    x, y = caching.data()
    with unchanged(folder), caching.read_only(folder):
        cache = kd.TeacherCache(folder, models.sequential())
        cache.verify()
        cache.logits()
        caching.attached_logits(cache.attach(kind(x, y)))
    assert state() == before


def test_a_disk_without_room_is_found_before_the_start(tmp_path, monkeypatch):
    dataset = caching.Batches(*caching.data())
    usage = shutil.disk_usage(tmp_path)
    with monkeypatch.context() as patch:
        # 3 batches of 8 records of a checksum and 3 numbers, of 4 bytes each.
        patch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=383))
        with pytest.raises(ValueError, match="384 bytes needed, 383 bytes fre"):
            caching.build(tmp_path, dataset=dataset)
        assert set(dataset.reads) == {0} and not caching.shards(tmp_path)
        # The remedies of the message work, in the same folder.
        caching.build(tmp_path, dtype="float16")


def test_room_is_needed_for_missing_shards_only(killed, monkeypatch):
    usage = shutil.disk_usage(killed)._replace(free=8 * 16)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    caching.build(killed)
