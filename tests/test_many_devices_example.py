"""The example of many devices: four give the numbers of one."""

import keras
import numpy as np
import pytest
from scripts import run_example
from sklearn.datasets import load_digits

pytestmark = pytest.mark.example


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("many_devices")


@pytest.fixture(scope="module")
def output(folder):
    return run_example("many_devices.py", folder)


def test_four_devices_give_the_numbers_of_one(output):
    one, four = (
        line.split()[2:] for line in output.splitlines() if "device" in line
    )
    *accuracies, soft_loss = one
    assert four == one
    assert all(50 < float(cell.rstrip("%")) < 100 for cell in accuracies)
    assert float(soft_loss) > 0


def test_four_devices_have_computed_it(output):
    """Sums in another order leave a trace; one device twice leaves none."""
    _, apart = output.split("weights of the two files differ by ")
    assert 0 < float(apart.split()[0]) < 1e-4


def test_the_students_files_answer_alike(output, folder):
    images = load_digits().data[:50].astype("float32") / 16
    one, four = (
        keras.models.load_model(folder / f"student_of_{count}.keras")
        for count in (1, 4)
    )
    logits = one.predict(images, verbose=0)
    assert np.abs(logits).max() > 0.1
    np.testing.assert_allclose(
        four.predict(images, verbose=0), logits, atol=1e-3
    )
