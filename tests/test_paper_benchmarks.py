"""The experiments run in short mode, and those that take long resume."""

import json

import numpy as np
import pytest
import scripts

from benchmarks.harness import load

pytestmark = pytest.mark.benchmark


def run(folder, work):
    scripts.run_module(
        "benchmarks.paper.hinton_mnist",
        *("--short", "--out", folder, "--work", work),
    )
    return json.loads((folder / "hinton_mnist.json").read_text())


def test_hinton_mnist_reports_each_part_and_resumes(tmp_path):
    work = tmp_path / "work"
    result = run(tmp_path / "a", work)
    students = result["students"]
    assert {"labels alone", "WTTM", "logit matching"} <= set(students)
    assert all(len(arm["values"]) == 2 for arm in students.values())
    assert set(result["temperature"]["8"]) == {"1", "20"}
    assert result["labels"]["8"]["values"] == students["labels alone"]["values"]
    for rows in result["omitted"].values():
        for row in rows.values():
            assert row["errors on omitted"]["mean"] <= row["errors"]["mean"]
    assert len(result["beyond"]) == 3
    assert (tmp_path / "a" / "hinton_mnist.png").exists()
    kept = (work / "runs.jsonl").read_text()
    again = run(tmp_path / "b", work)
    assert again == result
    assert (work / "runs.jsonl").read_text() == kept


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    folder = tmp_path_factory.mktemp("digits")
    scripts.run_module(
        "benchmarks.paper.digits",
        *("--short", "--out", folder),
        KERAS_BACKEND="jax",
    )
    assert (folder / "digits.png").exists()
    return load("digits", folder)


def test_digits_report_every_arm(digits):
    assert list(digits["arms"]) == ["labels only", "soft targets", "WTTM"]
    for arm in digits["arms"].values():
        assert len(arm["accuracies"]) == len(arm["seeds"]) == 2
        assert 0.5 < arm["accuracy"]["mean"] < digits["teacher"]["accuracy"]
        assert arm["parameters"] == 64 * 32 + 32 + 32 * 10 + 10


def test_settings_are_the_best_on_held_out_training_images(digits):
    for name, arm in digits["arms"].items():
        tried = [row for row in load("digits_tuning") if row["name"] == name]
        best = max(tried, key=lambda row: np.mean(row.pop("held_out")))
        assert arm["settings"] == best
        assert len(tried) == 8


def test_the_committed_digits_have_these_settings_too(digits):
    committed = load("digits")
    for name, arm in committed["arms"].items():
        assert arm["settings"] == digits["arms"][name]["settings"]
    assert committed["picture"].keys() == digits["picture"].keys()
