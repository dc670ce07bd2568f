"""A run that is killed and started again ends as if nothing had happened."""

import shutil
import signal
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import resume_worker


def run_worker(folder, student_seed, kill):
    command = [sys.executable, resume_worker.__file__]
    return subprocess.run(
        [*command, str(folder), str(student_seed), kill],
        capture_output=True,
        text=True,
    )


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    """The folder that a run of student 1 left when it was killed."""
    folder = tmp_path_factory.mktemp("killed")
    done = run_worker(folder, 1, "kill")
    assert done.returncode == -signal.SIGKILL, done.stderr
    return folder


@pytest.fixture
def folder(killed, tmp_path):
    return Path(shutil.copytree(killed, tmp_path / "copy"))


# Without dropout: plain Keras does not store the state of random seeds either.
def test_resumed_run_ends_with_the_weights_of_an_uninterrupted_one(folder):
    done = run_worker(folder, 2, "no")
    assert done.returncode == 0, done.stderr
    whole = resume_worker.make_distiller(student_seed=1)
    resume_worker.train(whole)
    with np.load(folder / "weights.npz") as resumed:
        weights = [resumed[name] for name in resumed.files]
    expected = whole.student.get_weights()
    for weight, other in zip(weights, expected, strict=True):
        np.testing.assert_allclose(weight, other, rtol=0, atol=1e-6)


def test_run_with_another_teacher_is_not_resumed(folder):
    other = resume_worker.make_distiller(student_seed=1, teacher_seed=101)
    backup = keras.callbacks.BackupAndRestore(folder / "backup")
    with pytest.raises(ValueError, match="trained by another teacher"):
        resume_worker.train(other, backup)
