"""The example of TTM and WTTM runs, in short mode, and calibrates."""

import re

import keras
import pytest
from scripts import percentages, run_example

pytestmark = pytest.mark.example

LOSSES = ("SoftTargets", "TTM", "WTTM")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("ttm_wttm")


@pytest.fixture(scope="module")
def output(folder):
    return run_example("ttm_wttm.py", folder)


def numbers(output, name):
    """Per row of that name: what stands in it."""
    rows = re.findall(rf"^ *{name} +([\d.% ]+)$", output, re.MULTILINE)
    return [[float(cell.rstrip("%")) for cell in row.split()] for row in rows]


def test_students_of_ttm_and_wttm_are_less_sure_than_others(output):
    first, *others = (numbers(output, name)[0][0] for name in LOSSES)
    assert all(first < other for other in others)


def test_each_loss_is_tried_at_each_temperature(output):
    rows = percentages(output)
    for name in LOSSES:
        assert len(rows[name]) == 2
        assert all(50 < score < 100 for score in rows[name])


def test_the_rule_divides_by_the_power_sum(output):
    mean = float(re.search(r"mean power sum at T = 4: (.*)\n", output)[1])
    weight = float(re.search(r"WTTM\(4\), weight (.*):", output)[1])
    assert weight == pytest.approx(0.6 * 4**2 / mean, rel=0.02)


def test_calibration_mends_likelihood_and_changes_no_answer(output, folder):
    after = numbers(output, "calibrated")
    for name, row in zip(LOSSES, after, strict=True):
        before = numbers(output, name)[-1]
        assert row[0] == before[0]
        if name != "SoftTargets":
            assert row[1] < before[1] and row[2] < before[2]
        assert keras.models.load_model(folder / f"{name}.keras").built
