"""keras-tuner's own parallel search: a chief and workers on this machine."""

import contextlib
import os
import pathlib
import socket
import subprocess
import sys
import time

import keras
import models
import numpy as np
import pytest
import tuner_worker

import keras_distill as kd

pytestmark = pytest.mark.slow

SECONDS = 120
TRIALS = [str(i) for i in range(tuner_worker.TRIALS)]
X, _ = models.data(32)


@pytest.fixture
def folder(tmp_path):
    """A folder with examples and the logits of a teacher."""
    logits = models.logits(models.sequential(units=32), X)
    y = logits.argmax(axis=-1)
    np.savez(tmp_path / "data.npz", x=X, y=y, logits=logits)
    return tmp_path


class Processes:
    """Starts chief and workers, all of them with the same address."""

    def __init__(self, folder):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.folder = folder
        self.started = []
        self.address = {
            "KERASTUNER_ORACLE_IP": "127.0.0.1",
            "KERASTUNER_ORACLE_PORT": str(port),
            "no_proxy": "127.0.0.1",
        }

    def start(self, name, *options):
        command = [sys.executable, tuner_worker.__file__, self.folder]
        environment = {"KERASTUNER_TUNER_ID": name, **self.address}
        with open(self.folder / f"{name}.log", "a") as log:
            process = subprocess.Popen(
                [*command, *options],
                env={**os.environ, **environment},
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        self.started.append(process)
        return process

    def finish(self, *waited, expected=0):
        """Waits until all of these processes end, or one in another way."""
        deadline = time.monotonic() + SECONDS
        while any(process.poll() is None for process in waited):
            codes = [process.poll() for process in self.started]
            healthy = set(codes) <= {None, 0, expected}
            assert healthy and time.monotonic() < deadline, self.logs(codes)
            time.sleep(0.1)
        codes = [process.returncode for process in waited]
        assert codes == [expected] * len(waited), self.logs(codes)
        self.started = [p for p in self.started if p not in waited]

    def logs(self, codes):
        logs = sorted(pathlib.Path(self.folder).glob("*.log"))
        texts = [f"{log.name}:\n{log.read_text()[-3000:]}" for log in logs]
        return "\n".join([f"exit codes {codes}", *texts])

    def kill(self):
        for process in self.started:
            process.kill()
        for process in self.started:
            process.wait()


@pytest.fixture
def processes(folder):
    with contextlib.ExitStack() as stack:
        made = Processes(folder)
        stack.callback(made.kill)
        yield made


def begun(folder, worker):
    return (folder / f"{worker}.trials").read_text().split()


def best_of(folder, monkeypatch):
    """The finished search as the chief left it, and its best student."""
    # State is kept in a file named by the tuner, so another finds nothing.
    stranger = tuner_worker.make_tuner(folder)
    with pytest.raises(ValueError, match="set KERASTUNER_TUNER_ID"):
        kd.tuner.best_student(stranger)
    monkeypatch.setenv("KERASTUNER_TUNER_ID", "chief")
    tuner = tuner_worker.make_tuner(folder)
    return tuner.oracle.trials, kd.tuner.best_student(tuner)


def accuracy(student, folder):
    with np.load(folder / "data.npz") as data:
        classes = models.logits(student, data["x"]).argmax(axis=-1)
        return np.mean(classes == data["y"])


def test_two_workers_share_the_trials(folder, processes, monkeypatch):
    chief = processes.start("chief")
    first = processes.start("worker-1")
    processes.finish(processes.start("worker-2", "die"), expected=9)
    # A worker of the same name gets the trial of the one that died.
    processes.finish(first, processes.start("worker-2"))
    # The chief looks for the end every 20 seconds: it may wait or be gone.
    assert chief.poll() in (None, 0)
    lost, *second = begun(folder, "worker-2")
    assert second[0] == lost
    # Apart from that one, each trial was begun once.
    assert sorted(begun(folder, "worker-1") + second) == TRIALS
    trials, student = best_of(folder, monkeypatch)
    assert sorted(trials) == TRIALS
    assert {trial.status for trial in trials.values()} == {"COMPLETED"}
    best = max(trial.score for trial in trials.values())
    assert type(student) is keras.Sequential
    assert accuracy(student, folder) == pytest.approx(best)
