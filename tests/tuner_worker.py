"""One process of a parallel search; see test_tuner_distributed.py.

    KERASTUNER_TUNER_ID=... python tests/tuner_worker.py FOLDER [die]

Keeps in FOLDER which trials this process began. Each of the two workers holds
its first trial until the other has one, so that none is left without; with
`die` it ends there instead, as if its machine had failed.
"""

import os
import pathlib
import sys
import time

if __name__ == "__main__" and os.environ["KERAS_BACKEND"] != "tensorflow":
    sys.modules["tensorflow"] = None  # importing it raises ImportError

import keras
import keras_tuner
import numpy as np

import keras_distill as kd

TRIALS = 4
SECONDS = 90


class RecordingSearch(keras_tuner.RandomSearch):
    """Notes which process began which trials."""

    dies = False

    def run_trial(self, trial, *args, **kwargs):
        folder = pathlib.Path(self.directory)
        with open(folder / f"{self.tuner_id}.trials", "a") as file:
            print(trial.trial_id, file=file)
        if self.dies:
            os._exit(9)
        deadline = time.monotonic() + SECONDS
        while len(list(folder.glob("*.trials"))) < 2:
            assert time.monotonic() < deadline, "the other has no trial"
            time.sleep(0.05)
        return super().run_trial(trial, *args, **kwargs)


def student(hp):
    keras.utils.set_random_seed(hp.Int("seed", 1, 99))
    layers = [keras.Input((4,)), keras.layers.Dense(4, "relu")]
    return keras.Sequential([*layers, keras.layers.Dense(3)])


def make_tuner(folder):
    hypermodel = kd.tuner.DistillationHyperModel(
        student,
        compile={
            "optimizer": keras.optimizers.Adam(0.1),
            "loss": keras.losses.SparseCategoricalCrossentropy(True),
            "metrics": ["accuracy"],
        },
    )
    return RecordingSearch(
        hypermodel,
        "val_accuracy",
        max_trials=TRIALS,
        seed=1,
        directory=folder,
    )


def main(folder, *options):
    with np.load(pathlib.Path(folder, "data.npz")) as data:
        x, y, logits = data["x"], data["y"], data["logits"]
    tuner = make_tuner(folder)
    tuner.dies = "die" in options
    tuner.search(
        (kd.WithTeacherLogits(x, logits), y),
        validation_data=(x, y),
        epochs=2,
        verbose=0,
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
