"""DKD: its two parts, its weights, and every form of labels."""

import backend
import keras
import numpy as np
import pytest
import reference
from keras import ops

import keras_distill as kd

T = 4.0
LABELS = np.array([2, 0, 4, 4])
BAD_WEIGHTS = [(-1.0, ValueError), (float("nan"), ValueError)]
BAD_WEIGHTS += [("1", TypeError), (None, TypeError), (True, TypeError)]
WEIGHTS = ["target_weight", "nontarget_weight"]


def draw(shape=(4, 5), scale=3.0):
    rng = np.random.default_rng(0)
    return rng.normal(0.0, scale, (2, *shape)).astype("float32")


def dkd(*args, **kwargs):
    return backend.to_numpy(kd.losses.dkd(*args, **kwargs))


def gradient(teacher, student, labels, **kwargs):
    return backend.value_and_grad(
        lambda z: ops.sum(kd.losses.dkd(teacher, z, labels, **kwargs)), student
    )[1]


def test_both_parts_make_up_the_soft_targets():
    # Eq. (6): KD = TCKD + (1 - p_t) NCKD.
    teacher, student = draw().astype("float64")
    p = reference.softmax(teacher, T)[np.arange(4), LABELS]
    with backend.float64():
        target = dkd(teacher, student, LABELS, 1, 0)
        others = dkd(teacher, student, LABELS, 0, 1)
        both = backend.to_numpy(kd.losses.soft_targets(teacher, student, T))
    np.testing.assert_allclose(target + (1 - p) * others, both, 1e-12)


@pytest.mark.parametrize(
    "form",
    [
        lambda y: y[:, None],
        lambda y: np.eye(5)[y],
        lambda y: 0.9 * np.eye(5)[y] + 0.02,
        lambda y: np.eye(5, dtype="int32")[y],
        lambda y: np.eye(5, dtype="bool")[y],
        lambda y: y.astype("uint8"),
        lambda y: y.astype("float32"),
        lambda y: y.tolist(),
    ],
    ids="column one-hot smoothed int32 bool uint8 float32 list".split(),
)
def test_forms_of_labels(form):
    teacher, student = draw()
    expected = dkd(teacher, student, LABELS)
    np.testing.assert_array_equal(dkd(teacher, student, form(LABELS)), expected)
    loss = kd.losses.DKD(reduction=None)((teacher, form(LABELS)), student)
    np.testing.assert_array_equal(backend.to_numpy(loss), expected)


def test_labels_of_time_steps():
    teacher, student = draw((2, 3, 5))
    labels = np.array([[0, 1, 2], [3, 4, 0]])
    expected = reference.dkd(teacher, student, labels, 1, 8, T)
    for given in (labels, labels[..., None], np.eye(5)[labels]):
        found = dkd(teacher, student, given)
        np.testing.assert_allclose(found, expected, 1e-5)


@pytest.mark.parametrize(
    "dtype, eps", [("bfloat16", 2**-8), ("float16", 2**-11)]
)
def test_a_high_class_number_survives_a_small_dtype(dtype, eps):
    teacher, student = draw((3, 300))
    labels = np.array([255, 257, 299])
    loss = kd.losses.DKD(1e4, 0, 1, reduction=None, dtype=dtype)
    found = backend.to_numpy(
        ops.cast(loss((teacher, labels), student), "float32")
    )
    rounded = [ops.cast(ops.cast(z, dtype), "float32") for z in draw((3, 300))]
    v, z = map(backend.to_numpy, rounded)
    expected = reference.dkd(v, z, labels, 1e4, 0, 1)
    # Keras returns the value in the dtype of the loss.
    np.testing.assert_allclose(found, expected, 1.01 * eps)
    others = reference.dkd(v, z, labels - 1, 1e4, 0, 1)
    assert np.all(np.abs(others - expected) > 0.1 * expected)


@pytest.mark.parametrize("void", [-1, 255])
def test_a_label_that_is_no_class_has_no_loss(void):
    teacher, student = draw()
    labels = np.where([0, 1, 0, 0], void, LABELS)
    one_hot = np.eye(256)[labels][:, :5] if void == 255 else None
    expected = dkd(teacher, student, LABELS) * [1, 0, 1, 1]
    for given in (labels, one_hot):
        if given is not None:
            found = dkd(teacher, student, given)
            np.testing.assert_array_equal(found, expected.astype("float32"))
    found = gradient(teacher, student, labels)
    assert np.all(found[1] == 0) and np.all(np.any(found[[0, 2, 3]], axis=1))


@pytest.mark.parametrize("size", [30.0, 200.0])
@pytest.mark.parametrize("right", [True, False])
def test_confident_models(size, right):
    """A float32 softmax would give all but one class the probability 0."""
    teacher, student = draw()
    teacher[np.arange(4), LABELS] += size
    student[np.arange(4), LABELS if right else LABELS - 1] += size
    config = {"target_weight": 1.0, "nontarget_weight": 8.0, "temperature": 1.0}
    expected = reference.dkd(teacher, student, LABELS, **config)
    found = dkd(teacher, student, LABELS, **config)
    np.testing.assert_allclose(found, expected, 1e-5)
    expected = reference.dkd_gradient(teacher, student, LABELS, **config)
    found = gradient(teacher, student, LABELS, **config)
    np.testing.assert_allclose(found, expected, 1e-4, 1e-5)


def test_far_from_all_doubt_the_gradient_is_whole():
    teacher = np.float32([[1e4, 0.0, -1e4]])
    for student in (-teacher, teacher):
        found = gradient(teacher, student, [0], temperature=1.0)
        assert np.all(np.isfinite(found))
    found = gradient(teacher, -teacher, [0], temperature=1.0)
    np.testing.assert_allclose(found, [[-1.0, -8.0, 1.0 + 8.0]], 1e-5)


def test_a_weight_may_be_a_scalar_tensor():
    teacher, student = draw()
    expected = dkd(teacher, student, LABELS, 2.0, 3.0, 1.5)
    numbers = [ops.convert_to_tensor(number) for number in (2.0, 3.0, 1.5)]

    def loss(*numbers):
        return kd.losses.dkd(teacher, student, LABELS, *numbers)

    for function in (loss, backend.compiled(loss)):
        found = backend.to_numpy(function(*numbers))
        np.testing.assert_allclose(found, expected, 1e-5)


@pytest.mark.parametrize("name", WEIGHTS)
def test_a_weight_may_be_set_and_is_checked(name):
    loss = kd.losses.DKD(reduction=None)
    setattr(loss, name, 3)
    assert loss.get_config()[name] == 3.0
    teacher, student = draw()
    np.testing.assert_array_equal(
        backend.to_numpy(loss((teacher, LABELS), student)),
        dkd(teacher, student, LABELS, **{name: 3.0}),
    )
    for value, error in BAD_WEIGHTS:
        with pytest.raises(error, match=f"`{name}` must.*{name}="):
            setattr(loss, name, value)
        with pytest.raises(error, match=f"`{name}` must.*{name}="):
            kd.losses.DKD(**{name: value})
        with pytest.raises(error, match=f"`{name}` must.*{name}="):
            dkd(teacher, student, LABELS, **{name: value})
    assert getattr(loss, name) == 3.0


def test_a_weight_for_each_example_is_refused():
    weights = ops.convert_to_tensor([1.0] * 4)
    with pytest.raises(ValueError, match=r"`target_weight` must be one number"):
        dkd(*draw(), LABELS, weights)


@pytest.mark.parametrize(
    "shape", [(3,), (4, 2), (4, 1, 1), (1, 4), ()], ids=str
)
def test_labels_of_other_shapes_are_refused(shape):
    loss, (teacher, student) = kd.losses.DKD(), draw()
    with pytest.raises(ValueError, match="`labels` must be class") as error:
        loss((teacher, np.zeros(shape, "int32")), student)
    assert f"labels.shape={shape}" in str(error.value)
    assert "(4,), (4, 1) or (4, 5)" in str(error.value)


@pytest.mark.parametrize("targets", [draw()[0], (draw()[0],), None])
def test_a_call_without_labels_is_refused(targets):
    with pytest.raises(TypeError, match=r"DKD uses labels.*\(\(teacher_logits"):
        kd.losses.DKD()(targets, draw()[1])
    with pytest.raises(ValueError, match="DKD uses labels.*without labels"):
        kd.losses.DKD()((draw()[0], None), draw()[1])


def test_numbers_of_a_step_take_the_place_of_the_attributes():
    from keras_distill._keras.numbers import having

    loss = kd.losses.DKD(reduction=None)
    numbers = dict.fromkeys(loss.numbers, ops.convert_to_tensor(2.0))
    teacher, student = draw()
    found = having(loss, numbers)((teacher, LABELS), student)
    np.testing.assert_allclose(
        backend.to_numpy(found), dkd(teacher, student, LABELS, 2, 2, 2), 1e-5
    )
    assert keras.losses.serialize(loss)["config"]["nontarget_weight"] == 8.0
