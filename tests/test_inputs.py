"""Teacher and student read the same inputs, or entries of their own."""

import keras
import models
import numpy as np
import pytest
from keras import layers

import keras_distill as kd

SOFT = kd.losses.SoftTargets(2.0)


def image_model(inputs, seed=1):
    """Reads images of any size, so that no layer refuses another one."""
    keras.utils.set_random_seed(seed)
    (image,) = keras.tree.flatten(inputs)
    pooled = layers.GlobalAveragePooling2D()(image)
    return keras.Model(inputs, layers.Dense(models.CLASSES)(pooled))


def image(*shape, **kwargs):
    return keras.Input((*shape, 1), **kwargs)


def sequential(*shape):
    stack = [layers.GlobalAveragePooling2D(), layers.Dense(models.CLASSES)]
    return keras.Sequential([image(*shape), *stack])


def flat(*shape):
    """Reads inputs of any rank."""
    head = layers.Dense(models.CLASSES)
    return keras.Sequential([keras.Input(shape), layers.Flatten(), head])


def two(a, b, named):
    a, b = image(a, a, name="a"), image(b, b, name="b")
    pooled = [layers.GlobalAveragePooling2D()(x) for x in (a, b)]
    logits = layers.Dense(models.CLASSES)(layers.Concatenate()(pooled))
    return keras.Model({"a": a, "b": b} if named else [a, b], logits)


def members(*sizes):
    return kd.Ensemble([sequential(size, size) for size in sizes])


DIFFERENT = {
    "size": lambda: (sequential(32, 32), sequential(8, 8)),
    "one axis": lambda: (sequential(8, 16), sequential(8, 8)),
    "rank": lambda: (flat(4), flat(2, 2)),
    "functional": lambda: (
        image_model(image(32, 32, name="x")),
        image_model(image(8, 8, name="x")),
    ),
    "an entry": lambda: (two(4, 8, True), two(4, 9, True)),
    "a place": lambda: (two(4, 8, False), two(4, 9, False)),
    "entry and name": lambda: (
        two(4, 8, True),
        image_model(image(9, 9, name="b")),
    ),
    "a member": lambda: (members(8, 8), sequential(4, 4)),
}


@pytest.mark.parametrize("make", DIFFERENT.values(), ids=DIFFERENT)
def test_inputs_that_both_read_have_one_shape(make):
    teacher, student = make()
    with pytest.raises(ValueError, match="must read inputs of the") as error:
        kd.Distiller(teacher, student, SOFT)
    assert "Received: teacher" in str(error.value)
    assert "with a dict as data" in str(error.value)


def test_the_message_has_the_shapes_and_the_entry():
    with pytest.raises(ValueError) as error:
        kd.Distiller(two(4, 8, True), two(4, 9, True), SOFT)
    expected = (
        "`teacher` and `student` must read inputs of the same shape. Received: "
        "teacher input shape (None, 8, 8, 1), student input shape (None, 9, 9, "
        "1) of 'b'."
    )
    assert str(error.value).startswith(expected)


def test_a_teacher_that_is_set_later_is_compared():
    distiller = kd.Distiller(None, sequential(8, 8), SOFT)
    with pytest.raises(ValueError, match="must read inputs"):
        distiller.teacher = sequential(32, 32)
    assert distiller.teacher is None


def test_members_and_models_of_a_comparison_read_the_same():
    with pytest.raises(ValueError, match=r"`members\[0\]` and `members\[1\]`"):
        members(8, 9)
    data = (np.zeros((2, 8, 8, 1)), np.zeros(2))
    both = sequential(8, 8), sequential(9, 9)
    with pytest.raises(ValueError, match="`teacher` and `student`"):
        kd.evaluate_fidelity(*both, data, verbose=0)


SAME = {
    "None": lambda: (sequential(None, None), sequential(8, 8)),
    "None elsewhere": lambda: (sequential(8, None), sequential(None, 8)),
    "unbuilt": lambda: (models.unbuilt(), models.linear()),
    "subclassed": lambda: (models.Subclassed(), models.linear()),
    "names": lambda: (
        image_model(image(8, 8, name="x")),
        image_model(image(8, 8, name="y")),
    ),
    "a last axis of 1": lambda: (flat(4), flat(4, 1)),
    "a list of one": lambda: (
        image_model([image(8, 8)]),
        image_model(image(8, 8)),
    ),
    "other entries": lambda: (
        image_model({"a": image(8, 8, name="a")}),
        image_model({"b": image(9, 9, name="b")}),
    ),
    "places": lambda: (two(4, 8, False), two(4, 8, False)),
    "members": lambda: (members(8, 8), sequential(8, 8)),
}


@pytest.mark.parametrize("make", SAME.values(), ids=SAME)
def test_what_fits_some_data_is_let_through(make):
    teacher, student = make()
    assert kd.Distiller(teacher, student, SOFT).teacher is teacher


# Each model with an image size of its own, as with a tokenisation of its own.


def test_of_a_dict_each_model_reads_its_own_entries():
    """The example: a teacher of large images, a student of small ones."""
    large = keras.Input((8, 8, 1), name="large")
    small = keras.Input((4, 4, 1), name="small")
    teacher = image_model({"large": large}, seed=1)
    student = image_model({"small": small}, seed=2)
    distiller = models.distiller(teacher, student, learning_rate=0.0)

    rng = np.random.default_rng(0)
    pixels = rng.normal(size=(8, 8, 8, 1)).astype("float32")
    x = {"large": pixels, "small": pixels[:, ::2, ::2]}
    y = np.arange(8) % models.CLASSES
    logs = models.step(distiller, x, y)

    # What the two give for the same data, one by one.
    v, z = (
        models.logits(model, {name: x[name]})
        for model, name in ((teacher, "large"), (student, "small"))
    )
    loss = kd.losses.SoftTargets(models.TEMPERATURE)
    assert logs["soft_loss"] == pytest.approx(float(loss(v, z)), rel=1e-5)
    hard = float(models.CROSSENTROPY(y, z))
    assert logs["hard_loss"] == pytest.approx(hard, rel=1e-5)
    assert models.evaluate(distiller, x, y)["loss"] == models.near(hard)
    predicted = distiller.predict(x, verbose=0)
    np.testing.assert_allclose(predicted, z, atol=1e-6)


@pytest.mark.parametrize("as_dict", [True, False])
def test_an_input_of_a_name_reads_the_entry_of_that_name(as_dict):
    b = keras.Input((models.FEATURES,), name="b")
    logits = layers.Dense(models.CLASSES)(b)
    student = keras.Model({"b": b} if as_dict else b, logits)
    distiller = models.distiller(models.two_inputs(named=True), student)
    x, y = models.data(8)
    entries = {"a": 0 * x, "b": x}
    models.step(distiller, entries, y)
    np.testing.assert_allclose(
        distiller.predict(entries, verbose=0),
        models.logits(student, {"b": x} if as_dict else x),
        atol=1e-6,
    )
