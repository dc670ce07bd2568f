"""Jobs that die: run in other processes by test_specialist_train.py."""

import os
import pathlib
import signal

import specialist_problem as problem

from keras_distill.specialists import _jobs


def examples_that_kill_once(folder):
    """Examples, but the first process of all that asks is killed later.

    It dies after its first checkpoint, in the middle of a training.
    """
    mark = pathlib.Path(folder) / "killed"
    try:
        mark.touch(exist_ok=False)
    except FileExistsError:
        return problem.examples()
    save = _jobs._Checkpoint.on_epoch_end

    def die(self, epoch, logs=None):
        save(self, epoch, logs)
        os.kill(os.getpid(), signal.SIGKILL)

    _jobs._Checkpoint.on_epoch_end = die
    return problem.examples()


def fail(folder):
    """A mistake that no retry mends; counts the tries."""
    with open(pathlib.Path(folder) / "tries", "a") as file:
        file.write("x")
    raise KeyError("no such data")
