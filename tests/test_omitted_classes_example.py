"""The example of omitted classes: what it mends is what was not seen."""

import pytest
from scripts import percentages, run_example

pytestmark = pytest.mark.example
CASES = ["without threes", "sevens and eights alone"]
WAYS = ["bias by labels", "bias by frequencies"]


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    """Of each student: its errors, those when mended, and its teacher's."""
    folder = tmp_path_factory.mktemp("omitted_classes")
    output = run_example("omitted_classes.py", folder)
    tables = [percentages(table) for table in output.strip().split("\n\n")]
    return dict(zip(CASES, tables, strict=True))


@pytest.mark.parametrize("case", CASES)
def test_students_and_teacher_are_measured(tables, case):
    assert list(tables[case]) == [case, *WAYS, "teacher"]


def test_the_teacher_is_the_same(tables):
    overall = {tables[case]["teacher"][0] for case in CASES}
    assert len(overall) == 1 and 0 < overall.pop() < 10


# By frequencies a single student, as here, gains a few threes or none.
@pytest.mark.parametrize(
    "case, way", [(CASES[0], WAYS[0]), *((CASES[1], way) for way in WAYS)]
)
def test_biases_mend_what_was_not_seen(tables, case, way):
    overall, unseen = tables[case][case]
    mended, mended_unseen = tables[case][way]
    assert mended_unseen < 0.7 * unseen
    assert mended < overall


def test_what_was_seen_less_is_known_less(tables):
    threes, pair = (tables[case][case][0] for case in CASES)
    assert tables[CASES[0]]["teacher"][0] < threes < pair < 60
