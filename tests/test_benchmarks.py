"""The benchmarks run, and their findings hold in short mode."""

import json
import os
import pathlib
import subprocess
import sys

import pytest

pytestmark = pytest.mark.benchmark

ROOT = pathlib.Path(__file__).parent.parent


def run(script, folder):
    subprocess.run(
        [sys.executable, str(ROOT / "benchmarks" / script)]
        + ["--short", "--out", str(folder)],
        check=True,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
    )
    (result,) = folder.glob("*.json")
    return json.loads(result.read_text())


def test_step_time_measures_each_arm(tmp_path):
    (result,) = run("step_time.py", tmp_path).values()
    (pair,) = result["pairs"].values()
    arms = {"student", "teacher", "ours", "cached", "keras"}
    assert arms <= set(pair["step_ms"])
    assert all(milliseconds > 0 for milliseconds in pair["step_ms"].values())
    assert pair["ours / keras"] > 0


def test_teacher_cache_measures_each_part(tmp_path):
    (result,) = run("teacher_cache.py", tmp_path).values()
    assert result["losses"]["float16"]["SoftTargets"]["gradient"] < 0.01
    assert result["losses"]["float32, top 5"]["TTM"]["gradient"] > 0.01
    assert result["memory"]["1 x"]["peak_resident_mb"] > 0
    assert result["build"]["arrays"]["throughput, build / predict"] > 0
    assert result["read"]["arrays, mlp 800-800"]["all logits / plain"] > 0


def test_searches_of_each_arm_are_the_same(tmp_path):
    (result,) = run("temperature_search.py", tmp_path).values()
    assert result["keras / cached"] > 0
    assert abs(result["keras - cached, val_accuracy"]["mean"]) < 0.01


def test_each_defect_is_absent_here(tmp_path):
    rows = run("compare_keras_distillation.py", tmp_path)["rows"]
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


def test_combining_specialists_measures_each_arm(tmp_path):
    result = run("specialist_inference.py", tmp_path)
    combination, model = result["combination"], result["model"]
    assert combination["largest error of q, ours"] < 1e-6
    assert combination["largest gradient of the float64 solution"] < 1e-9
    (rough, *_, same) = combination["gradient descent to an error of"].values()
    assert 0 < rough["image / ours"] <= same["image / ours"]
    assert 0 < rough["batch / ours"] <= same["batch / ours"]
    assert sum(combination["active specialists, images"].values()) == 200
    assert all(seconds > 0 for seconds in model["seconds"].values())
