"""CIFAR-10 as JPEG: views of its images, networks, and a short run."""

import json

import numpy as np
import pytest
import scripts

from benchmarks.paper import cifar
from benchmarks.paper.ttm_wttm_arms import LABELS, Method
from benchmarks.paper.ttm_wttm_cifar_models import (
    ARMS,
    SHORT,
    Experiment,
    Size,
)
from benchmarks.tables import ttm

pytestmark = pytest.mark.benchmark


def marked(count):
    """One bright pixel each, a little off the middle, of its own shade."""
    x = np.zeros((count, 32, 32, 3), "uint8")
    x[:, 10, 10] = 1 + np.arange(count)[:, None] % 200
    return x, np.arange(count, dtype="int32")


def test_a_view_is_shifted_by_up_to_four_pixels_and_mirrored_or_not():
    x, y = marked(2000)
    found = cifar.view(x, 0)
    assert found.shape == x.shape and found.dtype == x.dtype
    shade = found.max(axis=(1, 2))
    np.testing.assert_array_equal(shade, x.max(axis=(1, 2)))
    _, rows, columns, _ = np.nonzero(found[..., :1])
    span = range(-4, 5)
    assert set(rows - 10) == set(span)
    mirrored = columns > 15
    assert set(columns[~mirrored] - 10) == set(span)
    assert set(31 - columns[mirrored] - 10) == set(span)
    assert 0.4 < mirrored.mean() < 0.6


def test_views_depend_on_their_numbers_alone():
    x, _ = marked(20)
    first, again, other = (cifar.view(x, n) for n in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_each_pass_has_the_logits_of_its_view():
    x, y = marked(2 * cifar.BATCH)
    numbers = range(5, 7)
    # What a teacher would say: which view and which image it was.
    logits = np.stack([np.stack([v + 0 * y, y], -1) for v in numbers])
    views = cifar.Views(x, y, numbers, seed=0, logits=logits)
    orders = []
    for number in (5, 6, 5):
        batches = [views[i] for i in range(len(views))]
        labels = np.concatenate([labels for _, labels in batches])
        assert sorted(labels) == list(y)
        expected = cifar.view(x, number)
        for given, rows in batches:
            np.testing.assert_array_equal(given.inputs, expected[rows])
            np.testing.assert_array_equal(given.teacher_logits[:, 0], number)
            np.testing.assert_array_equal(given.teacher_logits[:, 1], rows)
        orders.append(list(labels))
        views.on_epoch_end()
    assert len(set(map(tuple, orders))) == 3


def test_networks_are_as_large_as_is_said():
    size = Size()
    teacher, student = (
        cifar.network(stages) for stages in (size.teacher, size.student)
    )
    assert 250_000 < teacher.count_params() < 350_000
    assert 20_000 < student.count_params() < 60_000
    assert student.output_shape == teacher.output_shape == (None, 10)


def test_each_arm_has_six_candidates_of_their_own_names():
    for methods in ARMS.values():
        assert len(set(map(str, methods))) == 6


def test_other_arms_take_the_best_rate_of_labels(monkeypatch):
    class Chosen(Experiment):
        def __init__(self):
            self.size = Size()

        def run(self, method, seed):
            return {"held-out errors": abs(method.rate - 5e-3)}

    found = Chosen()
    assert found.chosen(LABELS) == Method(rate=5e-3)
    for arm in ARMS:
        assert found.chosen(arm).rate == 5e-3


def test_the_benchmark_reports_each_arm(tmp_path, monkeypatch):
    scripts.run_module(
        "benchmarks.paper.ttm_wttm_cifar",
        *("--short", "--out", tmp_path, "--work", tmp_path / "work"),
        JAX_COMPILATION_CACHE_DIR=str(tmp_path / "compiled"),
        JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS="0",
    )
    result = json.loads((tmp_path / "ttm_wttm_cifar.json").read_text())
    assert set(result["test"]) == set(result["tuning"]) == set(ARMS)
    for arm in result["test"].values():
        assert len(arm["errors"]["values"]) == SHORT.seeds
    assert (tmp_path / "ttm_wttm_cifar.png").exists()
    monkeypatch.setattr(ttm, "load", lambda name: result)
    table = ttm.table("CIFAR-10 as JPEG")
    assert all(f"| {arm} |" in table for arm in ARMS)
    assert "% (sd" in ttm.cifar_finding()
