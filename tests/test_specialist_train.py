"""train_specialists: results, resumption, lost workers."""

import dataclasses
import functools
import json
import multiprocessing
import os
import time
from concurrent.futures import (
    BrokenExecutor,
    Executor,
    Future,
    ProcessPoolExecutor,
    ThreadPoolExecutor,
)

import keras
import numpy as np
import pytest
import specialist_problem as problem
import specialist_worker
from specialist_problem import SETS, SHORT, assert_same

from keras_distill.specialists import (
    _jobs,
    build_specialist,
    train_specialists,
)
from keras_distill.specialists._data import examples_of, some_inputs
from keras_distill.specialists._digests import digest_of_data


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    """What jobs that are never disturbed make."""
    folder = tmp_path_factory.mktemp("expected")
    return train_specialists(
        problem.generalist(), problem.examples(), SETS, folder, **SHORT
    )


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.once
def test_specialists_learn_the_posterior(tmp_path, full):
    """The corrected specialists come to the exact one, also from afar."""
    generalist = problem.generalist()
    kernel, bias = generalist.get_weights()
    generator = np.random.default_rng(0)
    if not full:  # Its soft targets are what the others are to learn.
        kernel = kernel + generator.normal(size=kernel.shape)
        generalist.set_weights([kernel, bias])
    [specialist] = train_specialists(
        generalist,
        problem.examples(),
        [problem.SPECIAL],
        tmp_path,
        epochs=60,
        optimizer=keras.optimizers.Adam(0.03),
        full_softmax=full,
        verbose=False,
    )
    p = problem.probabilities(specialist.model)
    wanted = problem.posterior() if full else problem.collapsed()
    assert specialist.full_softmax is full
    np.testing.assert_allclose(p, wanted, atol=0.05)


def test_finished_specialists_are_not_trained_again(
    tmp_path, expected, monkeypatch, capsys
):
    generalist, data = problem.generalist(), problem.examples()
    first = train_specialists(generalist, data, SETS[:1], tmp_path, **SHORT)
    trained = []
    train = _jobs.train
    monkeypatch.setattr(
        _jobs, "train", lambda job, d: trained.append(job) or train(job, d)
    )
    options = {**SHORT, "verbose": True}
    both = train_specialists(generalist, data, SETS, tmp_path, **options)
    assert [job.classes for job in trained] == [SETS[1]]
    shown = capsys.readouterr().out
    assert "2 specialists, 1 of them finished" in shown
    assert "2 of 2, specialist of 2 classes: loss" in shown
    assert_same(first, both[:1])
    assert_same(both, expected)
    again = train_specialists(generalist, data, SETS, tmp_path, **SHORT)
    assert len(trained) == 1
    assert_same(again, expected)


@pytest.mark.parametrize(
    "change",
    [
        {"epochs": 1},
        {"optimizer": keras.optimizers.Adam(0.1)},
        {"batch_size": 128},
        {"full_softmax": True},
        {"special_share": 0.4},
        {"seed": 1},
    ],
    ids=lambda change: next(iter(change)),
)
def test_other_settings_make_other_specialists(change):
    def name(**options):
        names = ("epochs", "optimizer", "batch_size", "full_softmax")
        names += ("special_share", "seed")
        values = {"epochs": 2, "optimizer": "adam", "batch_size": 256}
        values |= {"full_softmax": False, "special_share": 0.5, "seed": 0}
        values |= options
        optimizer = keras.optimizers.get(values["optimizer"])
        values["optimizer"] = keras.optimizers.serialize(optimizer)
        settings = _jobs.Settings("g", None, "jax", **values)
        assert set(names) == set(values)
        return _jobs.Job(None, [1], settings).name

    assert name() != name(**change)


def test_other_data_make_other_specialists():
    x, y = problem.examples()
    known = digest_of_data((x, y))
    assert known == digest_of_data((x.copy(), y.copy()))
    for other in ((x[::-1], y), (x, y[::-1]), (x[1:], y[1:]), (x, y, y)):
        assert digest_of_data(other) != known


def test_a_job_goes_on_after_its_checkpoint(tmp_path, expected, monkeypatch):
    epochs = []
    begin = _jobs._Checkpoint.on_epoch_begin

    def interrupted(self, epoch, logs=None):
        epochs.append(epoch)
        begin(self, epoch, logs)
        if epochs == [0, 1]:
            raise OSError("lost")

    monkeypatch.setattr(_jobs._Checkpoint, "on_epoch_begin", interrupted)
    found = train_specialists(
        problem.generalist(), problem.examples(), SETS, tmp_path, **SHORT
    )
    assert epochs == [0, 1, 0, 1, 1]  # Tried again, from the second epoch.
    assert_same(found, expected)
    left = sorted(path.name for path in tmp_path.iterdir())
    assert len(left) == 5, left  # Models, reports and the generalist.


def test_a_job_lost_after_its_last_epoch_is_finished(
    tmp_path, expected, monkeypatch, capsys
):
    correct = _jobs._corrected
    calls = []

    def lost(*args):
        calls.append(args)
        if len(calls) == 1:
            raise OSError("lost")
        return correct(*args)

    monkeypatch.setattr(_jobs, "_corrected", lost)
    found = train_specialists(
        problem.generalist(),
        problem.examples(),
        SETS[:1],
        tmp_path,
        **{**SHORT, "verbose": True},
    )
    assert_same(found, expected[:1])
    assert "classes: natural share" in capsys.readouterr().out


def test_a_finished_job_that_is_given_out_again_only_reports(tmp_path):
    """As by an executor that lost sight of it."""
    jobs = []
    train = _jobs.train

    def noted(job, dataset):
        jobs.append(job)
        return train(job, dataset)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_jobs, "train", noted)
        data = problem.examples()
        train_specialists(
            problem.generalist(), data, SETS[:1], tmp_path, **SHORT
        )
    before = jobs[0].path.stat().st_mtime_ns
    report = train(jobs[0], specialist_worker.fail)
    assert report["classes"] == SETS[0]
    assert jobs[0].path.stat().st_mtime_ns == before


def test_a_report_says_what_was_trained(tmp_path):
    train_specialists(
        problem.generalist(), problem.examples(), SETS[:1], tmp_path, **SHORT
    )
    [path] = tmp_path.glob("*.json")
    report = json.loads(path.read_text())
    assert report["classes"] == SETS[0]
    np.testing.assert_allclose(report["natural_share"], problem.natural_share())
    assert report["loss"] > 0 and report["seconds"] > 0


def test_the_dustbin_is_fitted_to_examples_of_all_classes(tmp_path):
    """Also where the first 4,096 are of one class."""
    x, y = problem.examples()
    order = np.argsort(y, kind="stable")
    data = np.repeat(x[order], 40, axis=0), np.repeat(y[order], 40)
    rows = some_inputs(examples_of(data), 500)
    share = rows.mean(axis=0) - x.mean(axis=0)
    assert np.abs(share).max() < 0.02 and len(rows) <= 500


def test_a_schedule_is_a_fresh_one_in_each_job(tmp_path):
    """The second job is trained as it would be alone."""
    schedule = keras.optimizers.schedules.CosineDecay(0.1, 4)
    options = {**SHORT, "optimizer": keras.optimizers.SGD(schedule)}
    generalist, data = problem.generalist(), problem.examples()
    both = train_specialists(
        generalist, data, SETS, tmp_path / "both", **options
    )
    alone = train_specialists(
        generalist, data, SETS[1:], tmp_path / "alone", **options
    )
    assert_same(both[1:], alone)
    # At the end of the schedule nothing is learned.
    start = build_specialist(generalist, SETS[1], inputs=data)
    moved = alone[0].model.get_weights()[0] - start.get_weights()[0]
    assert np.abs(moved).max() > 1e-3
    used = [json.loads(p.read_text()) for p in tmp_path.glob("*/*.json")]
    rates = [report["settings"]["optimizer"]["config"] for report in used]
    assert len(rates) == 3 and rates[0] == rates[1] == rates[2]


class Counted:
    """Labels that count how often they are read."""

    def __init__(self, labels):
        self._labels, self.reads = labels, 0

    def __array__(self, dtype=None, copy=None):
        self.reads += 1
        return self._labels


@pytest.mark.parametrize("sets", [SETS[:1], [[0], [1], [2]]], ids=len)
def test_labels_are_read_once_however_many_jobs(tmp_path, sets):
    x, y = problem.examples()
    labels = Counted(y)
    options = {**SHORT, "epochs": 1}
    train_specialists(
        problem.generalist(), (x, labels), sets, tmp_path, **options
    )
    assert labels.reads == 2  # Their bytes, for a name; and their numbers.


@pytest.mark.parametrize("age, left", [(25, False), (23, True)])
def test_what_killed_processes_left_is_removed_after_a_day(tmp_path, age, left):
    """A younger file may be one that another process is writing."""
    path = tmp_path / "tmp-specialist-0.keras"
    path.write_bytes(b"half")
    modified = time.time() - age * 60 * 60
    os.utime(path, (modified, modified))
    train_specialists(
        problem.generalist(), problem.examples(), SETS[:1], tmp_path, **SHORT
    )
    assert path.exists() is left


def test_a_mistake_is_tried_again_and_then_told(tmp_path):
    make = functools.partial(specialist_worker.fail, tmp_path)
    with pytest.raises(RuntimeError, match="failed 2 times, at last by KeyErr"):
        train_specialists(
            problem.generalist(), make, SETS[:1], tmp_path, retries=1, **SHORT
        )
    assert (tmp_path / "tries").read_text() == "xx"


def test_the_others_are_finished_before_an_error_is_raised(tmp_path):
    # Class 4 alone is missing from these examples.
    x, y = problem.examples()
    data = x[y != 4], y[y != 4]
    with pytest.raises(RuntimeError, match="1 of 2 specialists"):
        train_specialists(
            problem.generalist(), data, [[4], [2]], tmp_path, **SHORT
        )
    assert len(list(tmp_path.glob("specialist-*.json"))) == 1


# Executors.


class Broken(Executor):
    """An executor that lost its workers for good."""

    def submit(self, *args, **kwargs):
        raise BrokenExecutor("no workers left")


class Elsewhere(Executor):
    """A worker with a disk of its own."""

    def submit(self, function, job, dataset):
        done = Future()
        done.set_result({})
        return done


def test_lost_executors_are_told(tmp_path):
    generalist, data = problem.generalist(), problem.examples()
    with pytest.raises(RuntimeError, match="no workers left.*call again"):
        train_specialists(
            generalist, data, SETS, tmp_path, executor=Broken(), **SHORT
        )
    with pytest.raises(RuntimeError, match="All workers must share the folder"):
        train_specialists(
            generalist, data, SETS, tmp_path, executor=Elsewhere(), **SHORT
        )


class OfAnotherBackend(Executor):
    """Runs jobs as if the call had been made on another backend."""

    def submit(self, function, job, dataset):
        other = {"jax": "torch", "torch": "tensorflow", "tensorflow": "jax"}
        backend = other[job.settings.backend]
        settings = dataclasses.replace(job.settings, backend=backend)
        done = Future()
        try:
            job = dataclasses.replace(job, settings=settings)
            done.set_result(function(job, dataset))
        except ValueError as error:
            done.set_exception(error)
        return done


def test_workers_of_another_backend_are_refused(tmp_path):
    with pytest.raises(RuntimeError, match="Set KERAS_BACKEND for the workers"):
        train_specialists(
            problem.generalist(),
            problem.examples(),
            SETS,
            tmp_path,
            executor=OfAnotherBackend(),
            **SHORT,
        )
    assert not list(tmp_path.glob("specialist-*"))


def test_pools_that_fork_are_refused(tmp_path):
    pool = ProcessPoolExecutor(1, multiprocessing.get_context("fork"))
    with pytest.raises(ValueError, match="start method 'fork'"):
        train_specialists(
            problem.generalist(),
            problem.examples(),
            SETS,
            tmp_path,
            executor=pool,
        )


@pytest.mark.parametrize(
    "options, error, text",
    [
        ({"epochs": 0}, ValueError, "`epochs` must be a whole number"),
        ({"batch_size": 0}, ValueError, "`batch_size` must be a whole"),
        ({"special_share": 1.0}, ValueError, "`special_share` must be above"),
        ({"retries": -1}, ValueError, "`retries` must not be negative"),
        ({"executor": 3}, TypeError, "client.get_executor"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_bad_arguments_are_refused(tmp_path, options, error, text):
    with pytest.raises(error, match=text):
        train_specialists(
            problem.generalist(),
            problem.examples(),
            SETS,
            tmp_path,
            **options,
        )


def test_bad_labels_are_refused(tmp_path):
    generalist, (x, y) = problem.generalist(), problem.examples()
    with pytest.raises(ValueError, match="one-hot, one label per example"):
        train_specialists(generalist, (x, np.eye(6)[y]), SETS, tmp_path)
    with pytest.raises(ValueError, match="from 0 to 4. Received: labels from"):
        train_specialists(generalist, (x, y + 1), SETS, tmp_path)
    with pytest.raises(RuntimeError, match="from 0 to 4. Received: labels"):
        train_specialists(generalist, lambda: (x, y + 1), SETS, tmp_path)


def test_bad_class_sets_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"class_sets\[1\]"):
        train_specialists(
            problem.generalist(), problem.examples(), [[1], [9]], tmp_path
        )
    with pytest.raises(ValueError, match="at least one set"):
        train_specialists(
            problem.generalist(), problem.examples(), [], tmp_path
        )


def test_threads_are_an_executor_too(tmp_path):
    with ThreadPoolExecutor(1) as pool:
        found = train_specialists(
            problem.generalist(),
            problem.examples(),
            SETS[:1],
            tmp_path,
            executor=pool,
            **SHORT,
        )
    assert found[0].classes == SETS[0]
