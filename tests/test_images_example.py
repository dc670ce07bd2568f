"""The example of images: its views, and what it prints in short mode."""

import keras
import numpy as np
import pytest
from caching import needs_tf
from scripts import ROOT, run_example

pytestmark = [pytest.mark.example, needs_tf]

SCRIPT = (ROOT / "examples" / "images.py").read_text()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("images")


@pytest.fixture(scope="module")
def output(folder):
    return run_example("images.py", folder)


def test_each_way_is_measured(output):
    rows = output.split("CPU s\n")[1].splitlines()[:6]
    found = {row[:36].strip(): row[36:].split() for row in rows}
    assert list(found) == [
        "labels of random views, no teacher",
        "live teacher, random views",
        "cache of plain images",
        "the same cache, random views",
        "cache of ten views",
        "teacher",
    ]
    del found["teacher"]  # After 10 steps it knows nothing yet.
    for accuracy, _, seconds in found.values():
        assert float(accuracy[:-1]) > 30  # Of five classes.
        assert float(seconds) > 0


def test_fewer_bits_give_the_same_answers(output):
    table = output.split("KL, nats\n")[1].splitlines()[:3]
    found = {name: row for name, *row in map(str.split, table)}
    size = {name: int(row[0]) for name, row in found.items()}
    assert size["bfloat16"] < 0.7 * size["float32"]
    assert size["int8"] == size["float32"]  # A MobileNet has no dense layer.
    assert found["float32"][2:] == found["int8"][2:] == ["100.0%", "0.00000"]
    assert float(found["bfloat16"][2][:-1]) > 95


def test_the_student_is_plain(output, folder):
    student = keras.models.load_model(folder / "student.keras")
    assert type(student) is keras.Sequential
    assert f"student.keras: {student.count_params():,} weights" in output
    assert student.output_shape == (None, 5)


def test_a_stream_shows_new_views_and_the_same_each_time():
    before, found, _ = SCRIPT.partition("\n# %% [markdown]\n# ## The teacher\n")
    assert found
    names = {}
    exec(before, names)
    x = names["x_train"][:4]
    stream = names["views"](x, np.arange(4)).take(40)
    first, again = [
        [(image.numpy(), label.numpy()) for image, label in stream]
        for _ in range(2)
    ]
    for (image, label), (same, _), number in zip(
        first, again, range(40), strict=True
    ):
        np.testing.assert_array_equal(image, same)
        assert label == number % 4
        assert image.shape == x[0].shape
        assert 0 <= image.min() and image.max() <= 255
    assert len({image.tobytes() for image, _ in first}) == 40
