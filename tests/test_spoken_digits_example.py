"""The example of spoken digits runs in short mode, on made-up sounds."""

import pytest
from scripts import percentages, run_example

pytestmark = pytest.mark.example


def test_all_networks_tell_the_tones_and_most_of_their_parts(tmp_path):
    rows = percentages(run_example("spoken_digits.py", tmp_path))
    assert list(rows) == ["single, mean", "ensemble", "distilled"]
    for accuracy, error in rows.values():
        assert accuracy > 50  # Of 50 states; within a tone parts are alike.
        assert error == 0
