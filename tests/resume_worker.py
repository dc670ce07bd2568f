"""A training run that dies in its second epoch, or ends; see test_resume.py."""

import os
import signal
import sys

import keras
import numpy as np

import keras_distill as kd

EPOCHS = 3
RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(32, 8)).astype("float32")
Y = RANDOM.integers(3, size=32)


def classifier(units, seed):
    keras.utils.set_random_seed(seed)
    layers = [
        keras.Input((8,)),
        keras.layers.Dense(units, "relu"),
        keras.layers.BatchNormalization(),
        keras.layers.Dense(3),
    ]
    return keras.Sequential(layers)


def make_distiller(student_seed, teacher_seed=100):
    teacher = classifier(16, teacher_seed)
    student = classifier(4, student_seed)
    distiller = kd.Distiller(teacher, student, kd.losses.TTM(2.0))
    distiller.compile(
        optimizer=keras.optimizers.Adam(0.01),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    return distiller


class Kill(keras.callbacks.Callback):
    """Ends the process in the middle of the second epoch."""

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        if (self.epoch, batch) == (1, 1):
            os.kill(os.getpid(), signal.SIGKILL)


def train(distiller, *callbacks):
    options = {"batch_size": 8, "shuffle": False, "verbose": 0}
    return distiller.fit(X, Y, epochs=EPOCHS, callbacks=callbacks, **options)


def main(folder, student_seed, kill):
    distiller = make_distiller(int(student_seed))
    backup = keras.callbacks.BackupAndRestore(os.path.join(folder, "backup"))
    callbacks = [backup, Kill()] if kill == "kill" else [backup]
    history = train(distiller, *callbacks)
    assert len(history.epoch) == EPOCHS - 1, "nothing was restored"
    weights = distiller.student.get_weights()
    np.savez(os.path.join(folder, "weights.npz"), *weights)


if __name__ == "__main__":
    main(*sys.argv[1:])
