"""The example of ensembles: three teachers are worth more than one."""

import pytest
from scripts import percentages, run_example

pytestmark = pytest.mark.example


@pytest.fixture(scope="module")
def output(tmp_path_factory):
    return run_example("ensembles.py", tmp_path_factory.mktemp("ensembles"))


@pytest.fixture(scope="module")
def tables(output):
    """Accuracies of teachers, and accuracies and deviations of students."""
    return [percentages(part) for part in output.split("student of")]


def test_teachers_are_better_together(tables):
    teachers, _ = tables
    assert list(teachers) == [
        "one, on average",
        "arithmetic mean",
        "geometric mean",
    ]
    [alone] = teachers.pop("one, on average")
    for [together] in teachers.values():
        assert alone + 0.3 < together < 100


def test_a_student_of_three_is_better_than_one_of_one_or_of_labels(tables):
    _, students = tables
    (labels, _), (one, _) = students["labels"], students["one teacher"]
    for mean in ("arithmetic mean", "geometric mean"):
        accuracy, deviation = students[mean]
        assert accuracy > one + 0.5 and accuracy > labels + 1
        assert 0 <= deviation < 3


def test_the_student_follows_all_teachers_more_than_one(output):
    agreement = {
        name: float(value.rstrip("%"))
        for name, value in (
            line.removeprefix("same answer as ").split(": ")
            for line in output.splitlines()
            if line.startswith("same answer as ")
        )
    }
    assert agreement["all"] > agreement["one of the teachers"] > 80
