"""The example of specialists runs in short mode."""

import pytest
from scripts import percentages, run_example

pytestmark = pytest.mark.example


def test_the_example_prints_every_model_and_draws(tmp_path):
    output = run_example("specialists.py", tmp_path)
    rows = percentages(output)
    assert list(rows) == [
        "generalist",
        "generalist, trained twice as long",
        "generalist and specialists",
        "student of them, generalist's size",
    ]
    # Two short epochs teach little, but more than one class in a hundred.
    assert all(accuracy > 2 for (accuracy,) in rows.values())
    sets = [line for line in output.splitlines() if line[:2].isdigit()]
    assert [len(line.split()) for line in sets] == [10] * 10
    assert (tmp_path / "specialists.png").read_bytes().startswith(b"\x89PNG")
