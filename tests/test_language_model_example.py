"""The example of a language model: a teacher's word helps, from a cache too."""

import pytest
from scripts import run_example

pytestmark = pytest.mark.example


def test_students_of_all_ways_learn_to_guess(tmp_path):
    output = run_example("language_model.py", tmp_path)
    kept, rows = output.split("perplexity\n")
    few, many = (float(line.split()[2][:-1]) for line in kept.splitlines()[:2])
    assert 0 < few < many <= 100
    found = {}
    for row in rows.splitlines():
        name, value = row.rsplit(maxsplit=1)
        found[name.strip()] = float(value)
    assert list(found)[0] == "labels" and list(found)[-1] == "teacher"
    assert len(found) == 7 and max(found.values()) < 500
    assert found["teacher"] == min(found.values())
    # The k largest logits are nearer to all of them, the more they are.
    live, many, few = (
        found[f"forward KL, {way}"] for way in ("live", "top 100", "top 20")
    )
    assert abs(many - live) < 0.05 * live
    assert abs(many - live) < abs(few - live)
