"""Specialists distilled back: who learns from what, what it costs, a run."""

import json

import numpy as np
import pytest
import scripts

from benchmarks.harness import Runs
from benchmarks.paper import pairs
from benchmarks.paper.specialists_distilled import best, kept
from benchmarks.paper.specialists_distilled_models import (
    ARMS,
    SCALED,
    SHORT,
    Method,
    Students,
    active,
    multiplications,
    passes,
)
from benchmarks.tables import distilled

pytestmark = pytest.mark.benchmark
LABELS, SOFT, BOTH = Method(), Method(2.0, 0.0), Method(2.0, 0.5)


@pytest.fixture
def students(tmp_path):
    """Those of a teacher that says something at random."""
    data = pairs.load(True, None)
    found = Students(SHORT, data, Runs(tmp_path), 0)
    shape = len(found.train[0]), pairs.CLASSES
    logits = np.random.default_rng(0).normal(size=shape)
    found.__dict__["logits"] = logits.astype("float32")
    return found


def test_specialists_of_the_most_probable_classes_are_active():
    logits = np.zeros((3, pairs.CLASSES))
    logits[[0, 0], [3, 7]] = 2, 1
    logits[[1, 1], [7, 50]] = 2, 1
    logits[[2, 2], [50, 51]] = 2, 1
    sets = [[3, 4], [7, 3], [99, 7]]
    assert active(logits, sets, 1).tolist() == [
        [True, True, False],
        [False, True, True],
        [False, False, False],
    ]
    assert active(logits, sets, 2).tolist() == [
        [True, True, True],
        [False, True, True],
        [False, False, False],
    ]


def test_multiplications_are_those_by_the_weights():
    found = multiplications(pairs.network(392, 12))
    assert found == 392 * 12 + 12 * 100


def test_the_scale_is_a_factor_of_the_logits():
    one, ten = pairs.network(6, 4), pairs.network(6, 4, 10.0)
    ten.set_weights(one.get_weights())
    x = np.random.default_rng(0).normal(size=(5, 6))
    logits = [np.array(network(x)) for network in (one, ten)]
    np.testing.assert_allclose(logits[1], 10 * logits[0], rtol=1e-6)


def test_each_arm_has_as_many_candidates_of_their_own_names():
    counts = {len(arm.candidates) for arm in ARMS.values()}
    names = {len(set(map(str, arm.candidates))) for arm in ARMS.values()}
    assert len(counts) == 1 and names == counts


@pytest.mark.parametrize("name", ARMS)
def test_the_best_candidate_of_the_nearest_size_is_chosen(name):
    *_, third, fourth = ARMS[name].candidates[:4]
    low = {str(method): 0.5 for method in ARMS[name].candidates}
    by_size = {"8": {**low, str(third): 0.6}, "64": {**low, str(fourth): 0.6}}
    found = [best({name: by_size}, name, units) for units in (8, 16, 32, 64)]
    assert found == [third, third, fourth, fourth]


@pytest.mark.parametrize("count, expected", [(2000, 5), (1999, 5), (200, 20)])
def test_a_small_set_gets_as_many_updates(count, expected):
    assert passes(count, 500, 20) == expected


def test_what_would_be_cut_short_is_refused():
    with pytest.raises(ValueError, match="20 updates are no multiple of 3"):
        passes(1001, 500, 20)


def test_a_gain_is_kept_as_a_share_of_what_specialists_add():
    teacher = {"generalist": 0.5, "specialists": 0.75}
    found = kept([0.5, 0.75, 1.0, 0.25], [teacher] * 4)
    assert list(found) == [0, 1, 2, -1]


def test_without_a_teacher_only_pairs_with_a_label_are_there(students):
    x, y = students.data(LABELS, tenth=True)
    assert len(x) == len(y) == len(students.train[0]) // 10
    assert len(students.data(LABELS, tenth=False)[0]) == SHORT.teacher.train


def test_soft_targets_are_there_for_all_pairs(students):
    x, y = students.data(BOTH, tenth=True)
    np.testing.assert_array_equal(x.inputs, students.train[0])
    assert len(x.teacher_logits) == len(y) == SHORT.teacher.train
    assert np.sum(y >= 0) == SHORT.teacher.train // 10


def weights(students, method, tenth):
    return students.student(4, method, tenth, 4).get_weights()


@pytest.mark.parametrize(
    "method, tenth, labels, matters",
    [
        (LABELS, False, slice(200, None), True),
        (LABELS, True, slice(200, None), False),
        (LABELS, True, slice(200), True),
        (SOFT, False, slice(None), False),
        (BOTH, False, slice(200, None), True),
        (BOTH, True, slice(200, None), False),
        (BOTH, True, slice(200), True),
    ],
)
def test_a_student_learns_from_the_labels_it_may_know(
    students, method, tenth, labels, matters
):
    before = weights(students, method, tenth)
    y = students.train[1]
    y[labels] = (y[labels] + 1) % pairs.CLASSES
    after = weights(students, method, tenth)
    same = all(map(np.array_equal, before, after))
    assert same is not matters


def test_a_student_has_the_scale_of_its_method(students):
    layers = [
        len(students.student(4, Method(scale=scale), False, 4).layers)
        for scale in (1.0, 10.0)
    ]
    assert layers == [2, 3]


@pytest.mark.parametrize("method", [LABELS, SOFT, BOTH])
def test_the_teacher_is_asked_where_there_is_a_temperature(students, method):
    before = weights(students, method, True)
    students.logits[:] = -students.logits
    after = weights(students, method, True)
    same = all(map(np.array_equal, before, after))
    assert same is (method is LABELS)


def test_a_weight_decays(students):
    plain = weights(students, LABELS, False)
    decayed = weights(students, Method(decay=5.0), False)
    assert np.abs(decayed[0]).sum() < 0.95 * np.abs(plain[0]).sum()


def test_the_smallest_student_that_keeps_the_gain_is_named():
    def student(kept):
        return {"arms": {"labels": {"gain kept": {"mean": kept}}}}

    kept = {"8": 0.1, "16": 0.95, "32": 0.9}
    result = {"students": {units: student(one) for units, one in kept.items()}}
    assert distilled.smallest(result, "labels") == "16"
    assert distilled.needed(result, "labels") == "16 units"
    result["students"]["16"] = student(0.94)
    assert distilled.smallest(result, "labels") is None
    assert distilled.needed(result, "labels") == "over 32"


def test_the_benchmark_reports_each_arm_and_resumes(tmp_path):
    out, work = tmp_path / "out", tmp_path / "work"

    def run():
        scripts.run_module(
            "benchmarks.paper.specialists_distilled",
            *("--short", "--out", out, "--work", work),
        )
        return json.loads((out / "specialists_distilled.json").read_text())

    result = run()
    assert list(result["students"]) == ["8", "16"]
    for student in result["students"].values():
        assert list(student["arms"]) == list(ARMS)
        for arm in student["arms"].values():
            assert 0 <= arm["accuracy"]["mean"] <= 1
    assert set(result["curve"]["8"]["labels"]) == {"8", "20"}
    assert result["teacher"]["multiplications"]["mean"] > 128 * 8 + 8 * 100
    assert len(result["scale"]) == len(SCALED)
    assert (out / "specialists_distilled.png").exists()
    lines = (work / "runs.jsonl").read_text()
    assert run() == result
    assert (work / "runs.jsonl").read_text() == lines
