"""The search example runs, in short mode, and chooses what it says it does."""

import re

import pytest
from scripts import percentages, run_example

pytestmark = pytest.mark.example


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("tune_temperature")


@pytest.fixture(scope="module")
def output(folder):
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


@pytest.mark.parametrize(
    "name, trials", [("RandomSearch", 2), ("Hyperband", 6)]
)
def test_other_tuners_search_the_ranges(output, name, trials):
    pattern = (
        r": temperature (\S+), weight (\S+), (\S+)% held out; (\d+) trials"
    )
    temperature, weight, score, count = re.search(
        name + pattern, output
    ).groups()
    assert 1 <= float(temperature) <= 20 and 0 < float(weight) <= 1
    assert float(score) > 50 and int(count) == trials


def test_the_search_is_drawn(output, folder):
    assert (folder / "search.png").stat().st_size > 5000


def test_the_chosen_student_is_tested_beside_the_others(output):
    rows = percentages(output)
    for name in ("teacher", "labels only", "chosen"):
        (accuracy,) = rows[f"test, {name}"]
        assert 50 < accuracy < 100
