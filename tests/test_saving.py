"""What files hold: the student and its training, of the teacher a digest."""

import json
import subprocess
import sys
import zipfile

import keras
import models
import numpy as np
import pytest
import saving
from saving import (
    OTHERS,
    REFUSED,
    LabelledDistiller,
    SubclassedStudent,
    X,
    Y,
    assert_same_values,
    compiled,
    loaded_again,
    make_student,
    make_teacher,
    train,
    twin,
    with_other_weights,
)

import keras_distill as kd
from keras_distill._keras.fingerprint import fingerprint

pytestmark = pytest.mark.internals

original = saving.original
loaded = saving.loaded


def test_saved_student_needs_no_keras_distill(original, tmp_path):
    original.student.save(tmp_path / "student.keras")
    np.save(tmp_path / "x.npy", X)
    script = (
        "import sys; sys.modules['keras_distill'] = None\n"
        "import keras, numpy as np\n"
        "student = keras.models.load_model('student.keras')\n"
        "np.save('y.npy', student.predict(np.load('x.npy'), verbose=0))\n"
    )
    command = [sys.executable, "-c", script]
    subprocess.run(command, cwd=tmp_path, check=True)
    expected = original.predict(X, verbose=0)
    np.testing.assert_allclose(np.load(tmp_path / "y.npy"), expected, atol=1e-6)


def test_loaded_distiller_predicts_and_evaluates_as_it_is(original, loaded):
    assert loaded.teacher is None
    np.testing.assert_array_equal(
        loaded.predict(X, verbose=0), original.predict(X, verbose=0)
    )
    logs = loaded.evaluate(X, Y, verbose=0, return_dict=True)
    assert logs.keys() == {"loss", "accuracy"}
    assert logs == original.evaluate(X, Y, verbose=0, return_dict=True)


def test_loaded_distiller_has_its_losses_and_its_optimizer_state(
    original, loaded
):
    assert isinstance(loaded.distillation_loss, kd.losses.WTTM)
    assert loaded.distillation_loss.temperature == 3.0
    assert (loaded.hard_loss_weight, loaded.soft_loss_weight) == (0.75, 1.5)
    assert loaded.loss.get_config() == original.loss.get_config()
    optimizer = original.optimizer
    assert loaded.optimizer.get_config() == optimizer.get_config()
    assert len(optimizer.variables) > len(original.trainable_variables)
    assert_same_values(loaded.optimizer.variables, optimizer.variables)


def test_loaded_distiller_trains_on_as_the_original_would(tmp_path):
    distiller = compiled(make_teacher(), make_student())
    train(distiller)
    loaded = loaded_again(distiller, tmp_path)
    loaded.teacher = distiller.teacher
    logs, expected = train(loaded, epochs=2), train(distiller, epochs=2)
    assert logs.keys() == expected.keys()
    for name, values in logs.items():
        np.testing.assert_allclose(values, expected[name], atol=1e-6)
    assert_same_values(loaded.student.weights, distiller.student.weights)


def test_loaded_distiller_without_teacher_refuses_to_train(loaded):
    with pytest.raises(ValueError, match="Set distiller.teacher = teacher"):
        train(loaded)


def ensemble(teacher):
    return kd.Ensemble([teacher, twin(teacher)], "geometric", [1, 3])


def cut_softmax(teacher):
    x = teacher.outputs[0]
    outputs = keras.layers.Softmax()(x)
    return kd.as_logits(keras.Model(teacher.inputs[0], outputs))


def log_probabilities(teacher):
    outputs = 1.0 * keras.layers.Softmax()(teacher.outputs[0])
    return kd.as_logits(keras.Model(teacher.inputs[0], outputs))


def frozen(teacher):
    copy = twin(teacher)
    copy.trainable = False
    return copy


def from_file(teacher, folder):
    teacher.save(folder / "teacher.keras")
    return keras.models.load_model(folder / "teacher.keras")


@pytest.mark.parametrize(
    "wrap", [twin, frozen, ensemble, cut_softmax, log_probabilities]
)
def test_loaded_distiller_accepts_the_same_teacher(wrap, tmp_path):
    teacher = make_teacher()
    distiller = compiled(wrap(teacher), make_student())
    loaded = loaded_again(distiller, tmp_path)
    loaded.teacher = wrap(teacher)
    assert loaded.teacher is not None
    reloaded = from_file(wrap(teacher), tmp_path)
    loaded.teacher = reloaded
    assert loaded.teacher is reloaded


@pytest.mark.parametrize("other", OTHERS)
def test_loaded_distiller_refuses_another_teacher(original, loaded, other):
    with pytest.raises(ValueError, match=REFUSED):
        loaded.teacher = other(original.teacher)
    assert loaded.teacher is None


def test_loaded_distiller_refuses_an_unbuilt_teacher(loaded):
    with pytest.raises(ValueError, match="must be built"):
        loaded.teacher = SubclassedStudent(4)


def test_file_saved_without_teacher_still_knows_it(original, loaded, tmp_path):
    again = loaded_again(loaded, tmp_path)
    with pytest.raises(ValueError, match=REFUSED):
        again.teacher = with_other_weights(original.teacher)
    again.teacher = twin(original.teacher)


def test_file_knows_a_teacher_that_was_retrained_between_two_fits(tmp_path):
    first, retrained = make_teacher(), make_teacher(name="retrained")
    distiller = compiled(twin(first), make_student())
    train(distiller)
    distiller.save(tmp_path / "first.keras")
    distiller.teacher.set_weights(retrained.get_weights())
    train(distiller)
    loaded = loaded_again(distiller, tmp_path)
    with pytest.raises(ValueError, match=REFUSED):
        loaded.teacher = first
    loaded.teacher = retrained


def test_file_knows_the_teacher_as_it_is_when_it_is_saved(tmp_path):
    first, changed = make_teacher(), make_teacher(name="changed")
    distiller = compiled(twin(first), make_student())
    train(distiller)
    distiller.save(tmp_path / "before.keras")
    distiller.teacher.set_weights(changed.get_weights())
    loaded = loaded_again(distiller, tmp_path)
    with pytest.raises(ValueError, match=REFUSED):
        loaded.teacher = first
    loaded.teacher = changed


def test_file_does_not_grow_with_the_teacher(tmp_path):
    sizes = []
    for units in (8, 800):
        path = tmp_path / f"{units}.keras"
        compiled(make_teacher(units), make_student()).save(path)
        sizes.append(path.stat().st_size)
    assert abs(sizes[1] - sizes[0]) < 300


def test_config_names_no_layer_of_the_teacher(original, tmp_path):
    original.save(tmp_path / "distiller.keras")
    with zipfile.ZipFile(tmp_path / "distiller.keras") as archive:
        config = archive.read("config.json").decode()
    for layer in original.teacher.layers:
        assert layer.name not in config
    assert fingerprint(original.teacher) in config


def test_dropout_restarts_its_seed_as_in_plain_keras(tmp_path):
    student = make_student(keras.layers.Dropout(0.5, seed=7))
    distiller = compiled(make_teacher(), student)
    train(distiller)
    student.save(tmp_path / "plain.keras")
    plain = keras.models.load_model(tmp_path / "plain.keras")
    loaded = loaded_again(distiller, tmp_path)
    states = [
        model.layers[2].seed_generator.state
        for model in (plain, loaded.student)
    ]
    assert_same_values(states, [[7, 0], [7, 0]])


def test_config_round_trips_through_json(original):
    text = json.dumps(original.get_config())
    copy = kd.Distiller.from_config(json.loads(text))
    assert json.dumps(copy.get_config()) == text
    copy.student.set_weights(original.student.get_weights())
    np.testing.assert_array_equal(
        copy.predict(X, verbose=0), original.predict(X, verbose=0)
    )


def test_subclassed_student_built_by_fit_comes_back(tmp_path):
    distiller = compiled(make_teacher(), SubclassedStudent(5))
    assert not distiller.built
    train(distiller)
    loaded = loaded_again(distiller, tmp_path)
    assert isinstance(loaded.student, SubclassedStudent)
    loaded.teacher = distiller.teacher
    assert train(loaded)["loss"] == models.near(train(distiller)["loss"])


def test_subclassed_distiller_comes_back_with_its_argument(tmp_path):
    distiller = compiled(
        make_teacher(), make_student(), LabelledDistiller, label="run 7"
    )
    loaded = loaded_again(distiller, tmp_path)
    assert isinstance(loaded, LabelledDistiller)
    assert loaded.label == "run 7"
    with pytest.raises(ValueError, match=REFUSED):
        loaded.teacher = with_other_weights(distiller.teacher)
