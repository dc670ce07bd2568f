"""The search example runs, in short mode, and chooses what it says it does."""

import re

import pytest
from scripts import percentages, run_example

pytestmark = pytest.mark.example


@pytest.fixture(scope="module")
def output(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tune_temperature")
    return run_example("tune_temperature.py", folder)


def test_every_setting_has_its_score(output):
    rows = percentages(output)
    for name in ("temperature 1", "temperature 4", "labels only"):
        assert len(rows[name]) == (1 if name == "labels only" else 2)
        assert all(50 < score < 100 for score in rows[name])


def test_the_best_setting_is_chosen(output):
    rows = percentages(output)
    score = {
        (temperature, weight): value
        for temperature in ("1", "4")
        for weight, value in zip(
            ("0.25", "1"), rows[f"temperature {temperature}"], strict=True
        )
    }
    chosen = re.search(r"chosen: temperature (\S+), weight (\S+)\n", output)
    assert score[chosen.groups()] == max(score.values())


def test_the_chosen_student_is_tested_beside_the_others(output):
    rows = percentages(output)
    for name in ("teacher", "labels only", "chosen"):
        (accuracy,) = rows[f"test, {name}"]
        assert 50 < accuracy < 100
