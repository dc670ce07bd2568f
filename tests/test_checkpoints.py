"""Checkpoints hold the student and the teacher's fingerprint."""

import keras
import models
import pytest
import saving
from saving import (
    OTHERS,
    REFUSED,
    X,
    Y,
    assert_same_values,
    compiled,
    make_student,
    make_teacher,
    train,
    twin,
    with_other_weights,
)

pytestmark = pytest.mark.internals

original = saving.original
loaded = saving.loaded


def test_weights_file_brings_back_student_and_optimizer(original, tmp_path):
    original.save_weights(tmp_path / "d.weights.h5")
    copy = compiled(twin(original.teacher), make_student())
    copy.load_weights(tmp_path / "d.weights.h5")
    assert_same_values(copy.student.weights, original.student.weights)
    assert_same_values(copy.optimizer.variables, original.optimizer.variables)


def test_weights_file_does_not_grow_with_the_teacher(tmp_path):
    sizes = []
    for units in (8, 800):
        path = tmp_path / f"{units}.weights.h5"
        compiled(make_teacher(units), make_student()).save_weights(path)
        sizes.append(path.stat().st_size)
    assert sizes[0] == sizes[1]


@pytest.mark.parametrize("other", OTHERS)
def test_weights_file_refuses_another_teacher(original, other, tmp_path):
    original.save_weights(tmp_path / "d.weights.h5")
    copy = compiled(other(original.teacher), make_student())
    with pytest.raises(ValueError, match=REFUSED):
        copy.load_weights(tmp_path / "d.weights.h5")


def test_weights_file_tells_a_distiller_without_teacher(original, tmp_path):
    original.save_weights(tmp_path / "d.weights.h5")
    copy = compiled(None, make_student())
    copy.load_weights(tmp_path / "d.weights.h5")
    with pytest.raises(ValueError, match=REFUSED):
        copy.teacher = with_other_weights(original.teacher)
    copy.teacher = twin(original.teacher)


def test_weights_file_knows_a_teacher_retrained_between_batches(tmp_path):
    retrained = make_teacher(name="retrained")
    distiller = compiled(make_teacher(), make_student())
    distiller.train_on_batch(X, Y)
    distiller.save_weights(tmp_path / "d.weights.h5")
    distiller.teacher.set_weights(retrained.get_weights())
    distiller.train_on_batch(X, Y)
    distiller.save_weights(tmp_path / "d.weights.h5")
    compiled(retrained, make_student()).load_weights(tmp_path / "d.weights.h5")


CHECKPOINTS = {
    "full": {"save_weights_only": False},
    "weights": {"save_weights_only": True},
    "best": {"save_best_only": True, "monitor": "val_loss"},
    "in mid-epoch": {"save_weights_only": True, "save_freq": 3},
}


@pytest.mark.parametrize("kind", CHECKPOINTS)
def test_model_checkpoint_holds_student_and_fingerprint(kind, tmp_path):
    options = CHECKPOINTS[kind]
    weights_only = options.get("save_weights_only", False)
    suffix = ".weights.h5" if weights_only else ".keras"
    path = tmp_path / f"checkpoint{suffix}"
    checkpoint = keras.callbacks.ModelCheckpoint(path, **options)
    distiller = compiled(make_teacher(), make_student())
    train(distiller, callbacks=[checkpoint], validation_data=(X, Y))
    if weights_only:
        copy = compiled(twin(distiller.teacher), make_student())
        copy.load_weights(path)
    else:
        copy = keras.models.load_model(path)
    steps = 3 if kind == "in mid-epoch" else 4
    assert copy.optimizer.iterations == steps
    if steps == 4:
        assert_same_values(copy.student.weights, distiller.student.weights)
    with pytest.raises(ValueError, match=REFUSED):
        other = with_other_weights(distiller.teacher)
        compiled(other, make_student()).load_weights(path)


def test_best_checkpoint_is_that_of_the_lowest_val_loss(tmp_path):
    path = tmp_path / "best.keras"
    checkpoint = keras.callbacks.ModelCheckpoint(path, save_best_only=True)
    distiller = compiled(make_teacher(), make_student())
    distiller.optimizer.learning_rate = 1.0
    options = {"callbacks": [checkpoint], "validation_data": (X, Y)}
    losses = train(distiller, epochs=3, **options)["val_loss"]
    best = keras.models.load_model(path)
    logs = best.evaluate(X, Y, verbose=0, return_dict=True)
    assert logs["loss"] == models.near(min(losses))


# Orbax's files are read by the paths of weights, with `set_state_tree`.


def functional_student():
    keras.utils.set_random_seed(3)
    inputs = keras.Input((8,))
    hidden = keras.layers.Dense(4, "relu", name="hidden")(inputs)
    normed = keras.layers.BatchNormalization(name="norm")(hidden)
    return keras.Model(inputs, keras.layers.Dense(3, name="logits")(normed))


def test_a_state_tree_brings_back_the_student():
    original = compiled(make_teacher(), functional_student())
    train(original)
    copy = compiled(twin(original.teacher), functional_student())
    copy.set_state_tree(original.get_state_tree())
    assert_same_values(copy.student.weights, original.student.weights)


def test_a_state_tree_that_leaves_weights_as_they_are_is_refused(
    original, loaded
):
    before = models.snapshot(loaded.student)
    tree = original.get_state_tree()
    with pytest.raises(ValueError, match="no value for .* weights.*Orbax"):
        loaded.set_state_tree(tree)
    models.assert_same(models.snapshot(loaded.student), before)
    del tree["trainable_variables"], tree["non_trainable_variables"]
    loaded.set_state_tree(tree)  # What is not there is not asked for.
