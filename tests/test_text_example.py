"""The example of text: the teacher's word helps, and strings go in."""

import subprocess
import sys

import pytest
from caching import needs_tf
from scripts import percentages, run_example

pytestmark = [pytest.mark.example, needs_tf]

FRESH_PROCESS = """
import sys
sys.modules["keras_distill"] = None  # Importing it raises ImportError.
import keras
words = keras.models.load_model("words.keras").layers[-1]
student = keras.models.load_model("student.keras")
print(student.predict_on_batch(words([sys.argv[1]])).argmax())
"""
PACKAGES = ["keras", "matplotlib", "numpy", "scipy", "sklearn"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("text")


@pytest.fixture(scope="module")
def output(folder):
    return run_example("text.py", folder)


def test_the_teacher_helps_where_there_are_sentences_and_no_labels(output):
    rows = {name: values[0] for name, values in percentages(output).items()}
    labels, few, many, none, all_labels, teacher = rows.values()
    assert list(rows)[0] == "250 labels" and list(rows)[-1] == "teacher"
    assert min(many, none) > max(labels, few) + 5
    assert teacher > max(many, none)


def test_fewer_bits_give_the_same_answers(output):
    table = output.split("KL, nats\n")[1].splitlines()[:3]
    found = {name: row for name, *row in map(str.split, table)}
    size = {name: int(row[0]) for name, row in found.items()}
    assert size["int8"] < 0.4 * size["float32"]
    assert size["bfloat16"] < 0.6 * size["float32"]
    for name in ("bfloat16", "int8"):
        assert float(found[name][2][:-1]) > 97
        assert 0 < float(found[name][3]) < 0.001


def test_a_string_goes_in_without_the_library(output, folder):
    *_, answer, size = output.splitlines()
    sentence, package = answer.split(": ")
    fresh = subprocess.run(
        [sys.executable, "-c", FRESH_PROCESS, sentence],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        cwd=folder,
    )
    assert PACKAGES[int(fresh.stdout)] == package
    assert size.startswith("student.keras: 8,045 weights")
