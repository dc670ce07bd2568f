"""The example of two heads: the student gains on both."""

import pytest
from scripts import run_example

pytestmark = pytest.mark.example
WAYS = ["500 pairs, labels", "500 pairs, both", "all pairs, teacher"]


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    """Of each way: all digits right, error, agreement in %, and divergence."""
    folder = tmp_path_factory.mktemp("multi_label_and_regression")
    output = run_example("multi_label_and_regression.py", folder)
    lines = [line.rsplit(maxsplit=4) for line in output.splitlines()[1:]]
    return {
        name.strip(): [float(cell.rstrip("%")) for cell in cells]
        for name, *cells in lines
    }


def test_each_way_is_measured(rows):
    assert list(rows) == [*WAYS, "teacher"]
    assert rows["teacher"][2:] == [100.0, 0.0]


def test_more_of_the_teacher_is_closer_to_it(rows):
    divergence = [rows[way][3] for way in WAYS]
    assert divergence == sorted(divergence, reverse=True)
    assert divergence[2] < 0.8 * divergence[0]
    assert rows[WAYS[2]][2] > rows[WAYS[0]][2]


def test_the_student_of_the_teacher_is_best_at_both_heads(rows):
    (labels, error, *_), (taught, taught_error, *_) = (
        rows[WAYS[0]],
        rows[WAYS[2]],
    )
    assert labels + 2 < taught < rows["teacher"][0]
    assert rows["teacher"][1] < taught_error < error - 0.1
