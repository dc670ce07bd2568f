"""Whether a claim comes out, by what was measured."""

import pytest

from benchmarks.tables import verdicts


@pytest.mark.parametrize(
    "ours, paper, expected",
    [
        (74.0, 74, "yes"),
        (81.0, 74, "yes"),
        (82.0, 74, "partly: why"),
        ([109.0, 20.0], [109, 14], "partly: why"),
        ([100.0, 15.0], [109, 14], "yes"),
    ],
)
def test_errors_come_out_within_a_tenth_of_the_paper(ours, paper, expected):
    assert verdicts.at_most(ours, paper, "why") == expected


@pytest.mark.parametrize(
    "ours, expected",
    [(0.9, "yes"), (0.8, "yes"), (0.5, "partly: why"), (-0.1, "no: why")],
)
def test_gains_come_out_partly_where_there_are_some(ours, expected):
    assert verdicts.at_least(ours, 0.86, "why") == expected
