"""The example of features runs, in short mode, and leaves a plain student."""

import keras
import numpy as np
import pytest
from scripts import percentages, run_example

pytestmark = pytest.mark.example


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("features")


@pytest.fixture(scope="module")
def output(folder):
    return run_example("features.py", folder)


def test_each_way_is_measured(output):
    rows = percentages(output)
    ways = {"labels", "logits", "hint", "attention", "relations"}
    ways |= {"logits and hint"}
    assert rows.keys() == ways | {"teacher"}
    for way in ways:
        assert 50 < rows[way][0] < 100


def test_the_teachers_logits_help(output):
    rows = percentages(output)
    for way in ("logits", "logits and hint"):
        assert rows[way][0] > rows["labels"][0]


def test_the_student_is_plain(output, folder):
    student = keras.models.load_model(folder / "student.keras")
    shapes = [weight.shape for weight in student.weights]
    assert f"{student.count_params():,} weights" in output
    assert sum(map(np.prod, shapes)) == student.count_params()
    assert len(shapes) == 6  # Of two convolutions and the logits.
