"""A teacher that training changes, and the files of such a run."""

import keras
import numpy as np
import pytest
from saving import (
    REFUSED,
    X,
    Y,
    assert_same_values,
    compiled,
    make_teacher,
    train,
)

import keras_distill as kd

pytestmark = pytest.mark.internals


class MeanTeacher(keras.callbacks.Callback):
    """The teacher's weights are a moving average of the student's.

    Given a folder, it keeps the teacher there, and fetches it at the start.
    """

    def __init__(self, folder=None):
        super().__init__()
        self.path = folder and folder / "teacher.weights.h5"

    def on_train_begin(self, logs=None):
        if self.path and self.path.exists():
            self.model.teacher.load_weights(self.path)

    def on_epoch_end(self, epoch, logs=None):
        teacher, student = self.model.teacher, self.model.student
        pairs = zip(teacher.get_weights(), student.get_weights(), strict=True)
        teacher.set_weights([0.5 * t + 0.5 * s for t, s in pairs])
        if self.path:
            teacher.save_weights(self.path)


def start(seed=1):
    """Teacher and student of one architecture."""
    keras.utils.set_random_seed(seed)
    teacher = make_teacher(units=4)
    return compiled(teacher, make_teacher(units=4, name="student"))


def snapshots(model):
    """Notes the teacher's weights at the end of each epoch."""
    seen = []
    note = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: seen.append(
            model.teacher.get_weights()
        )
    )
    return seen, note


def teacher_of(weights):
    teacher = make_teacher(units=4)
    teacher.set_weights(weights)
    return teacher


@pytest.mark.parametrize("suffix", [".keras", ".weights.h5"])
@pytest.mark.once
def test_each_checkpoint_knows_the_teacher_of_its_epoch(suffix, tmp_path):
    model = start()
    seen, note = snapshots(model)
    checkpoint = keras.callbacks.ModelCheckpoint(
        tmp_path / f"{{epoch}}{suffix}",
        save_weights_only=suffix == ".weights.h5",
    )
    train(model, epochs=2, callbacks=[MeanTeacher(), note, checkpoint])
    assert not np.array_equal(seen[0][0], seen[1][0])
    for epoch in (0, 1):
        path = tmp_path / f"{epoch + 1}{suffix}"
        right, wrong = teacher_of(seen[epoch]), teacher_of(seen[1 - epoch])
        if suffix == ".keras":
            loaded = keras.models.load_model(path)
            with pytest.raises(ValueError, match=REFUSED):
                loaded.teacher = wrong
            loaded.teacher = right
        else:
            with pytest.raises(ValueError, match=REFUSED):
                compiled(wrong, twin_student()).load_weights(path)
            compiled(right, twin_student()).load_weights(path)


def twin_student():
    return make_teacher(units=4, name="student")


def test_a_run_takes_back_the_best_of_its_own_checkpoints(tmp_path):
    model = start()
    path = tmp_path / "{epoch}.weights.h5"
    checkpoint = keras.callbacks.ModelCheckpoint(path, save_weights_only=True)
    first = []
    note = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: first.append(
            model.student.get_weights()
        )
    )
    train(model, epochs=2, callbacks=[checkpoint, note, MeanTeacher()])
    model.load_weights(tmp_path / "1.weights.h5")
    assert_same_values(model.student.get_weights(), first[0])


def test_a_checkpoint_of_a_teacher_that_was_replaced_is_refused(tmp_path):
    model = start()
    model.save_weights(tmp_path / "d.weights.h5")
    model.teacher = make_teacher(units=4, name="other")
    with pytest.raises(ValueError, match=REFUSED):
        model.load_weights(tmp_path / "d.weights.h5")


def test_the_teacher_that_came_to_a_loaded_distiller_may_change(tmp_path):
    model = start()
    model.save(tmp_path / "d.keras")
    loaded = keras.models.load_model(tmp_path / "d.keras")
    loaded.teacher = twin_of(model.teacher)
    train(loaded, callbacks=[MeanTeacher()])
    loaded.teacher = loaded.teacher
    loaded.teacher = make_teacher(units=4, name="another")
    train(loaded)


def twin_of(teacher):
    return teacher_of(teacher.get_weights())


def test_the_fingerprint_that_comes_with_weights_counts(tmp_path):
    """Of a config and a file of weights that name different teachers."""
    before = start()
    config = before.get_config()
    later = twin_of(before.teacher)
    train(before, callbacks=[MeanTeacher()])
    before.save_weights(tmp_path / "d.weights.h5")
    changed = twin_of(before.teacher)
    model = kd.Distiller.from_config(config)
    model.compile("adam", before.loss, metrics=["accuracy"])
    model.optimizer.build(model.trainable_variables)
    model.load_weights(tmp_path / "d.weights.h5")
    with pytest.raises(ValueError, match=REFUSED):
        model.teacher = later
    model.teacher = changed


# A run that breaks off and goes on in another process, so with other objects.


class Stop(Exception):
    pass


def stop_in_second_epoch(epoch, logs):
    if epoch == 1:
        raise Stop


def resumed(folder, *callbacks):
    model = start()
    backup = keras.callbacks.BackupAndRestore(folder / "backup")
    train(model, epochs=3, callbacks=[*callbacks, backup])
    return model


@pytest.fixture
def broken_off(tmp_path):
    stop = keras.callbacks.LambdaCallback(on_epoch_begin=stop_in_second_epoch)
    with pytest.raises(Stop):
        resumed(tmp_path, MeanTeacher(tmp_path), stop)
    return tmp_path


@pytest.mark.once
def test_a_run_goes_on_where_its_teacher_comes_back_first(broken_off):
    model = resumed(broken_off, MeanTeacher(broken_off))
    whole = start()
    train(whole, epochs=3, callbacks=[MeanTeacher()])
    assert_same_values(model.student.weights, whole.student.weights)
    assert_same_values(model.teacher.weights, whole.teacher.weights)


def test_a_run_does_not_go_on_with_the_teacher_it_began_with(broken_off):
    with pytest.raises(ValueError, match="that it had when the file was"):
        resumed(broken_off, MeanTeacher())


def test_evaluation_needs_no_teacher(tmp_path):
    model = start()
    train(model, callbacks=[MeanTeacher()])
    model.save(tmp_path / "d.keras")
    loaded = keras.models.load_model(tmp_path / "d.keras")
    expected = model.evaluate(X, Y, verbose=0, return_dict=True)
    assert loaded.evaluate(X, Y, verbose=0, return_dict=True) == expected
