"""The benchmarks run, and their findings hold in short mode."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import scripts

from benchmarks.speed import step_time

pytestmark = pytest.mark.benchmark


def run(name, folder, *options):
    options = ["--short", "--out", folder, *options]
    scripts.run_module(f"benchmarks.{name}", *options)
    (result,) = folder.glob("*.json")
    return json.loads(result.read_text())


@pytest.fixture(scope="module")
def of_a_gpu(tmp_path_factory):
    """What the one command for a GPU writes, here without one."""
    folder = tmp_path_factory.mktemp("gpu")
    scripts.run_module("benchmarks.speed.gpu", "--short", "--out", folder)
    files = {path.stem: path for path in folder.glob("*.json")}
    return {name: json.loads(path.read_text()) for name, path in files.items()}


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
def test_step_time_measures_each_arm(of_a_gpu, policy):
    name = "step_time" if policy == "float32" else f"step_time_{policy}"
    (result,) = of_a_gpu[name].values()
    assert result["policy"] == policy and "cpu" in result["device"]
    (pair,) = result["pairs"].values()
    arms = {"student", "teacher", "ours", "cached", "keras"}
    assert arms <= set(pair["step_ms"])
    for arm, first in pair["first_step_ms"].items():
        assert first > pair["step_ms"][arm] > 0  # It compiles.
    ours, theirs = (pair["epoch_seconds"][arm] for arm in ("ours", "keras"))
    ratios = np.divide(ours, theirs)
    assert pair["ours / keras"] == pytest.approx(np.median(ratios), abs=1e-3)


def test_steps_alone_are_not_written_over_the_committed_result(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["step_time", "--steps_only"])
    with pytest.raises(SystemExit, match="without --out. Name a folder"):
        step_time.main()


def test_without_a_gpu_its_command_says_so():
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.speed.gpu"],
        cwd=scripts.ROOT,
        env={**os.environ, "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert "A GPU is needed. Received: JAX on 'cpu'" in done.stderr


def test_teacher_cache_measures_each_part(tmp_path):
    (result,) = run("speed.teacher_cache", tmp_path).values()
    assert result["losses"]["float16"]["SoftTargets"]["gradient"] < 0.01
    assert result["losses"]["float32, top 5"]["TTM"]["gradient"] > 0.01
    memory = result["memory"]["1 x"]
    float16 = 256 * 1000 * 2 / 2**20
    assert float16 < memory["cache_mb"] < float16 + 0.1
    assert memory["peak_resident_mb"] > memory["cache_mb"]
    (build,) = result["build"].values()
    (times,) = build["seconds"]["build"]
    assert build["examples per second"] == round(2 * 128 / times)
    read = result["read"]["arrays, mlp 800-800"]
    for arm in ("all logits", "top 50"):
        (cached,), (plain,) = read["seconds"][arm], read["seconds"]["plain"]
        assert read[f"{arm} / plain"] == pytest.approx(cached / plain, abs=1e-3)


def test_searches_of_each_arm_are_the_same(tmp_path):
    options = "speed.temperature_search", tmp_path, "--work", tmp_path / "work"
    (result,) = run(*options).values()
    arms = {name: result[name]["trials"] for name in ("cached", "live")}
    arms |= {name: result[name]["trials"] for name in ("keras", "plain")}
    for trials in arms.values():
        for name in ("temperature", "soft_loss_weight"):
            assert len({trial[name] for trial in trials}) == 2
            expected = [trial[name] for trial in arms["cached"]]
            assert [trial[name] for trial in trials] == expected
    assert abs(result["keras - cached, val_accuracy"]["mean"]) < 0.01
    later = {name: trials[1]["seconds"] for name, trials in arms.items()}
    expected = later["cached"] / later["plain"]
    found = result["cached / plain, later trials"]
    assert found == pytest.approx(expected, abs=1e-3)
    whole = [result[name]["seconds"] for name in ("keras", "cached")]
    assert result["keras / cached"] == round(whole[0] / whole[1], 2)
    # What is kept is not run again.
    (again,) = run(*options).values()
    assert again == result


def test_each_loss_is_tuned_and_measured(tmp_path):
    work = tmp_path / "work"
    result = run("methods", tmp_path, "--work", work)
    arms = ["labels", "SoftTargets", "SoftTargets, RKD"]
    for part in ("tuning", "test", "time"):
        assert list(result[part]) == arms
    labels, soft, _ = (result["test"][arm] for arm in arms)
    gains = np.subtract(
        soft["accuracy"]["values"], labels["accuracy"]["values"]
    )
    found = labels["over soft targets"]
    np.testing.assert_allclose(found["values"], -gains)
    # Two values are the ends of an interval of half a difference, of 12.7062.
    half = 12.7062 * abs(gains[0] - gains[1]) / 2
    assert found["half"] == pytest.approx(half, rel=1e-4)
    assert result["time"]["SoftTargets"] == 1.0
    kept = (work / "runs.jsonl").read_text().splitlines()
    assert len(kept) == 3 + 2 * 3


def test_losses_of_large_outputs_are_planned_and_timed(of_a_gpu):
    result = of_a_gpu["large_outputs"]
    kept = result["of the largest"]
    assert {"SoftTargets", "TTM", "WTTM"} == kept.keys()
    assert kept.keys() < result["losses"].keys()
    pairs = {("ours", "plain"): result["losses"], ("largest", "all"): kept}
    for (one, other), losses in pairs.items():
        arms = {one, other, f"{one}, labels", f"{other}, labels"}
        for loss in losses.values():
            assert loss["copies"].keys() == loss["ms"].keys() == arms
            assert 0 < loss["copies"][one] <= loss["copies"][other]
            times = loss["seconds"]
            paired = np.divide(times[one], times[other])
            found = loss[f"{one} / {other}"]
            assert found == pytest.approx(np.median(paired), 0.01)


def test_each_defect_is_absent_here(tmp_path):
    rows = run("compare_keras_distillation", tmp_path)["rows"]
    ours = {row["what"]: row["ours"] for row in rows}
    assert ours["All sample weights 0"] == "loss 0.000"
    assert ours["All class weights 0"] == "loss 0.000"
    assert ours["L2 penalty in the loss"] == "1.00 of the penalty"
    assert ours["Gradient at a confident mistake"] == "1 (exact: 1)"
    assert ours["Two outputs"] == "trains"
    assert ours["Unlabelled fit(x), compile(loss=None)"] == "trains"
    assert ours["Loaded Distiller"] == "evaluates"
    assert ours["Saved size with a 1000 x wider teacher"] == "1.0 x"
    assert all(row["keras"] != row["ours"] for row in rows)


def test_known_groups_of_classes_are_found(tmp_path):
    (arm,) = run("speed.confusable_classes", tmp_path)["arms"].values()
    assert arm["sets"] == 6
    assert arm["all classes"]["mean share of a group"] > 0.9
    assert arm["peak resident MB"] > arm["of which before"] > 0


def test_combining_specialists_measures_each_arm(tmp_path):
    result = run("speed.specialist_inference", tmp_path)
    combination, model = result["combination"], result["model"]
    assert combination["largest error of q, ours"] < 1e-6
    assert combination["largest gradient of the float64 solution"] < 1e-9
    (rough, *_, same) = combination["gradient descent to an error of"].values()
    assert 0 < rough["image / ours"] <= same["image / ours"]
    assert 0 < rough["batch / ours"] <= same["batch / ours"]
    assert sum(combination["active specialists, images"].values()) == 200
    assert all(seconds > 0 for seconds in model["seconds"].values())
