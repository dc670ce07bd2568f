"""The study of TTM and WTTM on the states of spoken digits."""

import json
from types import SimpleNamespace

import keras
import numpy as np
import pytest
import reference
import scripts

from benchmarks.harness import Runs
from benchmarks.paper import speech, speech_states, ttm_wttm_speech
from benchmarks.paper.ttm_wttm_arms import arms_of
from benchmarks.paper.ttm_wttm_models import Setting, Teacher
from benchmarks.paper.ttm_wttm_speech import ARMS, MEMBERS, PARTS, SHORT
from benchmarks.tables import ttm

pytestmark = pytest.mark.benchmark


def test_each_arm_has_twelve_candidates_of_their_own_names():
    for methods in ARMS.values():
        assert len(set(map(str, methods))) == len(set(methods)) == 12


def test_weights_of_examples_are_those_of_ttm_unless_said():
    arms = arms_of((2.0,), (2.0,), {"entropy": (7.0,)})
    [entropy] = arms["TTM by entropy"]
    assert (entropy.soft, entropy.example_weight) == (7.0, "entropy")
    assert [m.soft for m in arms["TTM by confidence"]] == [1.5, 5.0, 15.0]


@pytest.fixture(scope="module")
def made_up(tmp_path_factory):
    runs = Runs(tmp_path_factory.mktemp("speech"))
    options = SimpleNamespace(short=True, data_dir=None)
    return ttm_wttm_speech.task(options, SHORT, runs), runs


def test_nobody_learns_from_the_takes_of_choices_and_of_the_test(made_up):
    task, _ = made_up
    data = speech.made_up()
    learned = np.isin(data.takes, (10, 11))
    for (x, y), takes in (
        (task.train, (10, 11)),
        (task.held_out, (5, 6)),
        (task.test, (0, 1)),
    ):
        chosen = np.isin(data.takes, takes)
        heard = speech_states.frames(data, chosen, learned)
        np.testing.assert_array_equal(x, heard.plain())
        np.testing.assert_array_equal(y, heard.states)


def test_the_teacher_is_the_mean_of_its_members(made_up):
    task, runs = made_up
    x, _ = task.test
    found = Teacher(task, SHORT, runs, Setting(16)).model.predict(x, verbose=0)
    members = [
        keras.models.load_model(file).predict(x, verbose=0)
        for file in runs.folder.glob("held out-16-*.keras")
    ]
    assert len(members) == MEMBERS
    expected = np.mean([reference.softmax(logits) for logits in members], 0)
    np.testing.assert_allclose(reference.softmax(found), expected, atol=1e-6)


def test_the_benchmark_reports_each_part(tmp_path, monkeypatch):
    scripts.run_module(
        "benchmarks.paper.ttm_wttm_speech",
        *("--short", "--out", tmp_path, "--work", tmp_path / "work"),
        JAX_COMPILATION_CACHE_DIR=str(tmp_path / "compiled"),
        JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS="0",
    )
    result = json.loads((tmp_path / "ttm_wttm_speech.json").read_text())
    assert set(PARTS) <= set(result)
    assert set(result["test"]) == set(result["tuning"]) == set(SHORT.arms)
    assert (tmp_path / "ttm_wttm_speech.png").exists()
    monkeypatch.setattr(ttm, "load", lambda name: result)
    table = ttm.table("spoken digits")
    assert all(f"| {arm} |" in table for arm in SHORT.arms)
