"""Distillation losses that use labels, in a Distiller."""

import backend
import keras
import models
import numpy as np
import pytest
from keras import layers

import keras_distill as kd

X, Y = models.data(8)
DKD = kd.losses.DKD(temperature=2.0)
CORRECT = kd.losses.TTM(2.0, kd.example_weights.correctness)
VOID = np.array([0, 1, 0, 0, 1, 0, 0, 0], "bool")


def distilled(loss=None, compiled=models.CROSSENTROPY, **kwargs):
    teacher, student = models.linear(seed=2), models.linear()
    model = kd.Distiller(teacher, student, loss or DKD, soft_loss_weight=1.0)
    kwargs.setdefault("run_eagerly", False)
    model.compile(keras.optimizers.SGD(0.0), loss=compiled, **kwargs)
    return model


def expected(labels, weights=None, loss=None):
    pair = [models.logits(models.linear(seed=s), X) for s in (2, 1)]
    value = (loss or DKD)((pair[0], labels), pair[1], weights)
    return pytest.approx(float(value), rel=1e-5)


def soft_loss(model, *data, **kwargs):
    return models.step(model, *data, **kwargs)["soft_loss"]


@pytest.mark.parametrize("loss", [DKD, CORRECT], ids=["DKD", "correctness"])
@pytest.mark.parametrize("run_eagerly", [True, False])
def test_a_loss_gets_the_labels(run_eagerly, loss):
    model = distilled(loss, run_eagerly=run_eagerly)
    assert soft_loss(model, X, Y) == expected(Y, loss=loss)
    assert soft_loss(model, X, 2 - Y) == expected(2 - Y, loss=loss)


@pytest.mark.parametrize(
    "labels, compiled",
    [
        (Y[:, None], models.CROSSENTROPY),
        (Y.astype("float32"), models.CROSSENTROPY),
        (
            np.eye(3, dtype="float32")[Y],
            keras.losses.CategoricalCrossentropy(from_logits=True),
        ),
    ],
    ids=["column", "floats", "one_hot"],
)
def test_labels_come_in_every_form(labels, compiled):
    assert soft_loss(distilled(compiled=compiled), X, labels) == expected(Y)


def test_sample_weights_apply():
    weights = np.linspace(0, 2, 8, dtype="float32")
    found = soft_loss(distilled(), X, Y, sample_weight=weights)
    assert found == expected(Y, weights)


def test_numbers_of_the_loss_may_change():
    loss = kd.losses.DKD(temperature=2.0)
    model = distilled(loss)
    soft_loss(model, X, Y)
    loss.nontarget_weight, loss.temperature = 1.0, 5.0
    fresh = kd.losses.DKD(nontarget_weight=1.0, temperature=5.0)
    assert soft_loss(model, X, Y) == expected(Y, loss=fresh)


@pytest.mark.parametrize("ignored", [-1, 255])
@pytest.mark.parametrize("weights", [None, np.full(8, 3.0, "float32")])
def test_a_void_label_has_weight_0(ignored, weights):
    compiled = keras.losses.SparseCategoricalCrossentropy(
        from_logits=True, ignore_class=ignored
    )
    labels = np.where(VOID, ignored, Y)
    model = distilled(compiled=compiled)
    kept = (1.0 if weights is None else 3.0) * (1 - VOID)
    found = soft_loss(model, X, labels, sample_weight=weights)
    assert found == expected(np.where(VOID, 0, Y), kept.astype("float32"))


@pytest.mark.parametrize("dtype", ["uint8", "int16", "float32"])
def test_a_void_label_that_the_labels_cannot_have_voids_none(dtype):
    compiled = keras.losses.SparseCategoricalCrossentropy(
        from_logits=True, ignore_class=-1
    )
    teacher, student = [
        keras.Sequential([keras.Input((4,)), layers.Dense(256)]) for _ in "ts"
    ]
    model = kd.Distiller(teacher, student, DKD)
    model.compile(keras.optimizers.SGD(0.0), loss=compiled)
    labels = np.full(8, 255, dtype)
    pair = [models.logits(each, X) for each in (teacher, student)]
    value = float(DKD((pair[0], labels), pair[1]))
    found = soft_loss(model, X, labels)
    assert found == pytest.approx(value, rel=1e-5)


def test_a_void_label_is_an_unlabelled_example_to_other_losses():
    compiled = keras.losses.SparseCategoricalCrossentropy(
        from_logits=True, ignore_class=-1
    )
    loss = kd.losses.SoftTargets(2.0)
    labels = np.where(VOID, -1, Y)
    found = soft_loss(distilled(loss, compiled), X, labels)
    assert found == soft_loss(distilled(loss), X, Y)


def test_void_pixels_of_a_segmentation():
    def net(seed):
        keras.utils.set_random_seed(seed)
        head = layers.Conv2D(models.CLASSES, 1)
        return keras.Sequential([keras.Input((4, 4, 2)), head])

    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, 4, 4, 2)).astype("float32")
    y = rng.integers(0, 3, (2, 4, 4, 1))
    void = rng.random(y.shape) < 0.3
    teacher, student = net(2), net(1)
    model = kd.Distiller(teacher, student, DKD)
    compiled = keras.losses.SparseCategoricalCrossentropy(
        from_logits=True, ignore_class=255
    )
    model.compile(keras.optimizers.SGD(0.0), loss=compiled)
    logs = models.step(model, x, np.where(void, 255, y))
    pair = [models.logits(each, x) for each in (teacher, student)]
    weights = (1.0 - void[..., 0]).astype("float32")
    value = float(DKD((pair[0], y[..., 0]), pair[1], weights))
    assert logs["soft_loss"] == pytest.approx(value, rel=1e-5)


class SeesLabels(keras.losses.Loss):
    """A loss of a user: what it sees of the labels, 0 where they are right."""

    compares = "classes"
    uses_labels = True

    def __init__(self, dtype=None):
        super().__init__(dtype=dtype)

    def call(self, targets, student_logits):
        teacher_logits, labels = targets
        assert keras.backend.standardize_dtype(labels.dtype) == "int32"
        wrong = keras.ops.cast(labels != 257, student_logits.dtype)
        return wrong + 0 * keras.ops.sum(student_logits, axis=-1)


def test_labels_keep_their_dtype():
    def wide(seed):
        keras.utils.set_random_seed(seed)
        head = layers.Dense(300, kernel_initializer="zeros")
        return keras.Sequential([keras.Input((4,)), head])

    model = kd.Distiller(wide(2), wide(1), SeesLabels(dtype="bfloat16"))
    model.compile(keras.optimizers.SGD(0.0), loss=models.CROSSENTROPY)
    labels = np.full(8, 257, "int32")
    assert soft_loss(model, X, labels) == 0.0
    assert soft_loss(model, X, labels - 1) == 1.0


@pytest.mark.parametrize("run_eagerly", [True, False])
@pytest.mark.parametrize("compiled", [None, models.CROSSENTROPY])
def test_unlabelled_data_are_refused(run_eagerly, compiled):
    # By the loss, whatever is compiled: `loss=None` would not help.
    model = distilled(compiled=compiled, run_eagerly=run_eagerly)
    with pytest.raises(ValueError, match="DKD uses labels.*without labels"):
        models.step(model, X)


def test_labels_may_be_for_the_distillation_loss_alone():
    assert soft_loss(distilled(compiled=None), X, Y) == expected(Y)


def test_labels_of_each_output_by_name():
    def net(seed):
        keras.utils.set_random_seed(seed)
        inputs = keras.Input((models.FEATURES,))
        heads = [layers.Dense(models.CLASSES, name=n)(inputs) for n in "ba"]
        return keras.Model(inputs, heads)

    teacher, student = net(2), net(1)
    model = kd.Distiller(teacher, student, {"a": DKD})
    losses = {"b": models.CROSSENTROPY, "a": models.CROSSENTROPY}
    model.compile(keras.optimizers.SGD(0.0), loss=losses)
    logs = models.fit(model, X, {"a": Y, "b": 2 - Y})
    pair = [backend.to_numpy(m.get_layer("a")(X)) for m in (teacher, student)]
    value = float(DKD((pair[0], Y), pair[1]))
    assert logs["soft_loss"] == [pytest.approx(value, rel=1e-5)]
