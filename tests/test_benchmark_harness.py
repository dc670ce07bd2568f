"""What the benchmarks share: runs and models that are kept, results, times."""

import gzip
import json
import sys

import keras
import numpy as np
import pytest

from benchmarks import harness
from benchmarks.harness import (
    Runs,
    arguments,
    kept_model,
    load,
    machine,
    save,
)
from benchmarks.tables import formatting


def model():
    return keras.Sequential([keras.Input((2,)), keras.layers.Dense(3)])


def never():
    pytest.fail("made anew")


def test_a_model_is_made_once(tmp_path):
    path = tmp_path / "new" / "model.keras"
    first = kept_model(path, model)
    again = kept_model(path, never)
    np.testing.assert_array_equal(
        first.get_weights()[0], again.get_weights()[0]
    )
    assert [file.name for file in path.parent.iterdir()] == ["model.keras"]


def test_a_run_is_read_while_its_settings_are_the_same(tmp_path):
    runs = Runs(tmp_path)
    assert runs("a", {"sizes": (1, 2)}, lambda: {"score": 1}) == {"score": 1}
    assert Runs(tmp_path)("a", {"sizes": (1, 2)}, never) == {"score": 1}
    assert runs("a", {"sizes": (1, 3)}, lambda: {"score": 2}) == {"score": 2}
    assert runs("a", {"sizes": (1, 3)}, never) == {"score": 2}


def test_runs_go_on_in_another_folder(tmp_path):
    here, there = tmp_path / "here", tmp_path / "there"
    runs = Runs(here)
    runs("a", {}, lambda: {"score": 1})
    runs("b", {}, lambda: {"score": 2})
    there.mkdir()
    (here / "runs.jsonl").rename(there / "runs.jsonl")
    moved = Runs(there)
    assert moved("a", {}, never) == {"score": 1}
    assert moved("b", {}, never) == {"score": 2}
    assert moved.environments() == [harness.environment()]


@pytest.mark.parametrize("name", [None, "cpu", "NVIDIA H200"])
def test_an_environment_and_a_table_name_a_gpu(monkeypatch, name):
    monkeypatch.setattr(machine, "device", lambda: name)
    found = harness.environment()
    of_a_gpu = name not in (None, "cpu")
    assert found.get("device") == (name if of_a_gpu else None)
    said = formatting.where(found)
    assert said.startswith("NVIDIA H200, ") == of_a_gpu
    assert f"{found['cores']} cores of {found['processor']}" in said


def test_runs_that_were_committed_are_read_and_left_alone(tmp_path):
    first = Runs(tmp_path / "first")
    first("a", {}, lambda: {"score": 1})
    begun = tmp_path / "begun.jsonl.gz"
    runs = (tmp_path / "first" / "runs.jsonl").read_bytes()
    begun.write_bytes(gzip.compress(runs))
    before = begun.read_bytes()
    second = Runs(tmp_path / "second", begun)
    assert second("a", {}, never) == {"score": 1}
    second("b", {}, lambda: {"score": 2})
    assert begun.read_bytes() == before
    assert second("b", {}, never) == {"score": 2}
    third = Runs(tmp_path / "third", tmp_path / "absent.jsonl.gz")
    assert third("a", {}, lambda: {"score": 3}) == {"score": 3}


def test_a_line_that_was_cut_off_is_made_again(tmp_path):
    runs, file = Runs(tmp_path), tmp_path / "runs.jsonl"
    runs("a", {}, lambda: {"score": 1})
    runs("b", {}, lambda: {"score": 2})
    file.write_text(file.read_text()[:-20])
    assert runs("b", {}, lambda: {"score": 3}) == {"score": 3}
    assert runs("b", {}, never) == {"score": 3}
    assert runs("a", {}, never) == {"score": 1}


def test_what_fails_while_it_is_written_replaces_nothing(tmp_path):
    save("result", {"score": 1}, tmp_path)
    with pytest.raises(TypeError, match="not JSON serializable"):
        save("result", {"score": object()}, tmp_path)
    assert load("result", tmp_path) == {"score": 1}


def test_backends_have_an_entry_each(tmp_path):
    (tmp_path / "times.json").write_text('{"other": 1}')
    path = save("times", 2, tmp_path, by_backend=True)
    expected = {"other": 1, keras.backend.backend(): 2}
    assert json.loads(path.read_text()) == expected
    save("times", 3, tmp_path, by_backend=True)
    assert load("times", tmp_path) == {**expected, keras.backend.backend(): 3}


@pytest.mark.parametrize(
    "given, out, work, begun",
    [
        ([], None, ".work/name", harness.RESULTS / "runs" / "name.jsonl.gz"),
        (["--short"], ".work/short", ".work/name-short", None),
        (["--short", "--out", "a", "--work", "b"], "a", "b", None),
    ],
)
def test_a_short_run_leaves_results_and_runs_alone(
    given, out, work, begun, monkeypatch
):
    monkeypatch.setattr(sys, "argv", ["name", *given])
    options = arguments("What it does.", "name", "work")
    assert (options.out, options.work) == (out, work)
    assert options.begun == begun


def test_summary_and_percent():
    found = harness.summary([0.5, 0.7])
    assert found["mean"] == pytest.approx(0.6)
    assert found["sd"] == pytest.approx(0.02**0.5)
    assert harness.percent(found) == "60.0% (sd 14.1)"
    assert harness.percent(harness.summary([0.125]), 2) == "12.50%"


def test_arms_take_turns():
    order = []
    arms = {name: lambda name=name: order.append(name) for name in "ab"}
    times = harness.interleaved(arms, 2)
    assert "".join(order) == "ab" + "ab" + "ba"
    assert [len(values) for values in times.values()] == [2, 2]


def test_a_ratio_is_the_median_of_those_side_by_side():
    # Of the sums 1 / 1, 8 / 2 and 9 / 3, not of the medians 8 / 2.
    assert harness.ratio([1.0, 8.0, 9.0], [0.5, 1.0, 2.0], [0.5, 1, 1]) == 3


def test_the_rate_falls_to_zero():
    rate = harness.adam(0.5, 10).learning_rate
    optimizer = harness.adam(0.5, 2)
    optimizer.build([keras.Variable([1.0])])
    assert float(keras.ops.convert_to_numpy(rate)) == pytest.approx(0.5)
    for _ in range(2):
        optimizer.iterations.assign_add(1)
    end = float(keras.ops.convert_to_numpy(optimizer.learning_rate))
    assert end == pytest.approx(0.0, abs=1e-7)
