"""What examples weigh: each weight, those of one's own, and in a Distiller."""

import functools

import backend
import keras
import models
import numpy as np
import pytest
import reference
from keras import ops

import keras_distill as kd

T = 3.0
NAMES = ["confidence", "entropy", "power_sum"]
X, Y = models.data(8)
LABELS = np.array([2, 0, 4, 4])


def draw(shape=(4, 5)):
    rng = np.random.default_rng(0)
    return rng.normal(0.0, 3.0, (2, *shape)).astype("float32")


def weights(name, *args):
    function = getattr(kd.example_weights, name)
    return backend.to_numpy(function(*args))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("shape", [(4, 5), (4, 3, 5), (3, 1)])
def test_values(name, shape):
    teacher = draw(shape)[0]
    expected = getattr(reference, f"{name}_weight")(teacher, T)
    for temperature in (T, ops.convert_to_tensor(T)):
        found = weights(name, teacher, temperature)
        assert found.shape == shape[:-1] and found.dtype == "float32"
        np.testing.assert_allclose(found, expected, 1e-5, 1e-7)


@pytest.mark.parametrize("name", NAMES)
def test_a_sure_teacher_and_one_that_knows_nothing(name):
    sure, none = np.float32([[3e4, -3e4, 0.0], [7.0, 7.0, 7.0]])
    bounds = {
        "confidence": (1.0, 1 / 3),
        "entropy": (0.0, np.log(3)),
        "power_sum": (1.0, 3 ** (1 - 1 / T)),
    }
    found = weights(name, np.stack([sure, none]), T)
    np.testing.assert_allclose(found, bounds[name], 1e-6)


def correct(labels, logits):
    return weights("correctness", logits, T, labels)


@pytest.mark.parametrize(
    "form",
    [
        lambda y: y,
        lambda y: y[:, None],
        lambda y: np.eye(5)[y],
        lambda y: y.astype("uint8"),
        lambda y: y.tolist(),
    ],
    ids="numbers column one-hot uint8 list".split(),
)
def test_correctness_of_every_form_of_labels(form):
    logits = draw()[0]
    logits[[0, 2], LABELS[[0, 2]]] = 30.0
    logits[[1, 3], LABELS[[1, 3]]] = -30.0
    np.testing.assert_array_equal(correct(form(LABELS), logits), [1, 0, 1, 0])


def test_the_teacher_is_never_right_of_a_label_that_is_no_class():
    logits = draw()[0]
    np.testing.assert_array_equal(correct(np.full(4, -1), logits), np.zeros(4))


@pytest.mark.parametrize("cls", [kd.losses.TTM, kd.losses.SoftTargets])
def test_a_teacher_that_is_wrong_does_not_count(cls):
    teacher, student = draw()
    labels = np.argmax(teacher, axis=-1)
    labels[[1, 3]] -= 1
    weighed = cls(T, kd.example_weights.correctness, reduction=None)
    found = backend.to_numpy(weighed((teacher, labels), student))
    each = backend.to_numpy(cls(T, reduction=None)(teacher, student))
    np.testing.assert_array_equal(found, each * [1, 0, 1, 0])
    with pytest.raises(TypeError, match="uses labels.*pair"):
        weighed(teacher, student)


def each_class(teacher_logits, temperature):
    return ops.softmax(teacher_logits / temperature)


def of_the_batch(teacher_logits, temperature):
    return ops.max(teacher_logits)


@pytest.mark.parametrize("function", [each_class, of_the_batch])
def test_a_weight_of_another_shape_is_refused(function):
    with pytest.raises(ValueError, match="one number for each") as error:
        kd.losses.TTM(T, function)(*draw())
    assert function.__name__ in str(error.value)
    assert "where (4,) is needed" in str(error.value)


def test_a_weight_that_returns_nothing_is_refused():
    with pytest.raises(ValueError, match="None from.*Return the weights"):
        kd.losses.TTM(T, lambda v, temperature: None)(*draw())


def test_labels_that_a_function_has_already_are_not_replaced():
    teacher, student = draw()
    own = np.argmax(teacher, axis=-1)
    weight = functools.partial(kd.example_weights.correctness, labels=own)
    loss = kd.losses.TTM(T, weight)
    assert not loss.uses_labels
    found = float(loss(teacher, student))
    assert found == float(kd.losses.TTM(T)(teacher, student))


@pytest.mark.parametrize("value", ["entropy", 2.0, True, keras.layers.Dense])
def test_what_is_no_function_is_refused(value):
    with pytest.raises(TypeError, match="`example_weight` must be a function"):
        kd.losses.TTM(T, example_weight=value)


def test_a_weight_cannot_be_changed():
    # A compiled step would not notice.
    loss = kd.losses.TTM(T)
    with pytest.raises(AttributeError):
        loss.example_weight = kd.example_weights.entropy
    assert loss.example_weight is None


def test_a_function_that_nobody_registered_can_be_used_but_not_loaded():
    def first(teacher_logits, temperature):
        return teacher_logits[..., 0]

    loss = kd.losses.TTM(T, first)
    assert np.isfinite(float(loss(*draw())))
    with pytest.raises(TypeError, match="Could not locate function 'first'"):
        keras.losses.deserialize(keras.losses.serialize(loss))


def test_no_gradient_passes_through_a_weight():
    student = draw()[1]

    def of_student(teacher_logits, temperature):
        return ops.sum(student_logits[0] ** 2, axis=-1)

    student_logits = [None]

    def loss(z):
        student_logits[0] = z
        return ops.sum(
            kd.losses.ttm(draw()[0], z, T, example_weight=of_student)
        )

    _, found = backend.value_and_grad(loss, student)
    weight = np.sum(student**2, axis=-1, keepdims=True)
    expected = weight * reference.gradient_20(draw()[0], student, T)
    np.testing.assert_allclose(found, expected, 1e-4, 1e-4)


def fitted(loss, **kwargs):
    """The weights of a student after two epochs."""
    student = models.linear()
    kwargs = {"soft_loss_weight": 2.0} | kwargs
    model = kd.Distiller(models.linear(seed=2), student, loss, **kwargs)
    model.compile(keras.optimizers.SGD(0.1), models.CROSSENTROPY)
    model.fit(X, Y, epochs=2, batch_size=4, shuffle=False, verbose=0)
    return student.get_weights()


def test_a_student_of_ttm_with_the_power_sum_is_one_of_wttm():
    weighed = fitted(kd.losses.TTM(T, kd.example_weights.power_sum))
    for found, expected in zip(weighed, fitted(kd.losses.WTTM(T)), strict=True):
        np.testing.assert_array_equal(found, expected)


def test_a_scheduled_temperature_reaches_the_weight():
    falling = keras.optimizers.schedules.PiecewiseConstantDecay([1], [6.0, 1.0])
    loss = kd.losses.TTM(falling, kd.example_weights.entropy)
    expected = fitted(kd.losses.TTM(1.0, kd.example_weights.entropy))
    assert np.any(fitted(loss)[0] != expected[0])


@pytest.mark.parametrize("cls", [kd.losses.TTM, kd.losses.SoftTargets])
def test_a_weight_has_no_default_beside_it(cls):
    models_ = models.linear(seed=2), models.linear()
    loss = cls(T, kd.example_weights.entropy)
    with pytest.raises(ValueError, match="`example_weight`.*soft_loss_weight"):
        kd.Distiller(*models_, loss)
    assert kd.Distiller(*models_, loss, soft_loss_weight=1).soft_loss_weight


def test_a_saved_distiller_has_the_weight(tmp_path):
    teacher = models.linear(seed=2)
    loss = kd.losses.TTM(T, kd.example_weights.entropy)
    model = kd.Distiller(teacher, models.linear(), loss, soft_loss_weight=1.0)
    model.compile("sgd", models.CROSSENTROPY)
    model.fit(X, Y, verbose=0)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    found = loaded.distillation_loss.example_weight
    assert found is kd.example_weights.entropy
