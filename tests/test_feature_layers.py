"""Layers whose outputs are features: found by path, taken in one pass."""

import threading

import feature_models as nets
import keras
import models
import numpy as np
import pytest
from feature_models import X, Y, hint
from keras import layers, ops

import keras_distill as kd
from keras_distill._keras import taps

BACKEND = keras.backend.backend()


def matched(teacher_layer, student_layer, teacher, student, **kwargs):
    feature = kd.losses.Feature(teacher_layer, student_layer, **kwargs)
    return nets.still(feature, teacher=teacher, student=student)


def nested(units=6, seed=1):
    """A model in a model, whose layers have the names of other ones."""
    keras.utils.set_random_seed(seed)
    block = keras.Sequential(
        [layers.Dense(units, name="conv1"), layers.Dense(3, name="conv2")],
        name="block",
    )
    inputs = keras.Input((models.FEATURES,))
    hidden = layers.Dense(4, name="conv2")(block(inputs))
    return keras.Model(
        inputs, layers.Dense(models.CLASSES, name="head")(hidden)
    )


def feature_loss(model):
    return models.step(model, X, Y)["feature_loss"]


PATHS = ["block/conv1", "conv1", "conv2", "block/conv2", "block"]


@pytest.mark.parametrize("path", PATHS)
def test_nested_layers_are_found_by_name_or_path(path):
    teacher, student = nested(seed=2), nested()
    model = matched(path, path, teacher, student)
    way = ["block", "conv1"] if path == "conv1" else path.split("/")
    # The block is the first of the student: its inputs are the model's.
    parts = [
        nets.given(m.get_layer("block"), way[1])
        if len(way) == 2
        else nets.given(m, *way)
        for m in (teacher, student)
    ]
    expected = np.mean((parts[0] - parts[1]) ** 2)
    assert feature_loss(model) == pytest.approx(expected, rel=1e-5)


def test_layers_of_subclassed_models_are_found():
    teacher, student = nets.Subclassed(5, seed=2), nets.Subclassed()
    for model in (teacher, student):
        model(X)
    model = matched("block/hidden", "hidden", teacher, student)
    parts = [models.logits(m.block, X) for m in (teacher, student)]
    parts[1] = models.logits(model.projectors["0"], parts[1])
    expected = np.mean((parts[0] - parts[1]) ** 2)
    assert feature_loss(model) == pytest.approx(expected, rel=1e-5)


def test_an_ensemble_has_the_layers_of_its_members():
    members = [nets.net(6, seed) for seed in (2, 3)]
    names = [member.name for member in members]
    assert names[0] != names[1]
    path = f"{names[1]}/hidden"
    model = matched(path, "hidden", kd.Ensemble(members), nets.net())
    expected = nets.mean_square(members[1], model.student).mean()
    assert feature_loss(model) == pytest.approx(expected, rel=1e-5)


def test_a_layer_may_have_part_in_several_features():
    model = nets.still(hint(), hint(loss="mae"), teacher=nets.net(6, seed=2))
    parts = [nets.given(m, "hidden") for m in (model.teacher, model.student)]
    difference = parts[0] - parts[1]
    expected = np.mean(difference**2) + np.mean(np.abs(difference))
    assert feature_loss(model) == pytest.approx(expected, rel=1e-5)


def test_inputs_of_a_fixed_batch_size():
    inputs = keras.Input(batch_shape=(8, models.FEATURES))
    hidden = layers.Dense(6, name="hidden")(inputs)
    student = keras.Model(inputs, layers.Dense(models.CLASSES)(hidden))
    model = matched("hidden", "hidden", nets.net(5, seed=2), student)
    assert feature_loss(model) > 0


# What is refused.


def refuse(message, teacher_layer="hidden", teacher=None, **kwargs):
    with pytest.raises(ValueError, match=message):
        matched(
            teacher_layer, "hidden", teacher or nested(), nets.net(), **kwargs
        )


def test_a_wrong_path_is_answered_with_the_paths_there_are():
    refuse(
        "`teacher_layer` must be the path of one layer.*Received: 'block/conv3'"
        ", which no layers of the teacher have. Did you mean 'block/conv.' or "
        "'block/conv.'.*Layers of the teacher: block, block/conv1, block/conv2,"
        " conv2, head.",
        "block/conv3",
    )
    with pytest.raises(ValueError, match="the student: hidden, head"):
        matched("conv1", "conv1", nested(), nets.net())


def test_a_name_that_several_layers_have_is_refused():
    inputs = keras.Input((models.FEATURES,))
    blocks = [
        keras.Sequential([layers.Dense(4, name="conv")], name=name)
        for name in "ab"
    ]
    hidden = blocks[1](blocks[0](inputs))
    teacher = keras.Model(inputs, layers.Dense(models.CLASSES)(hidden))
    refuse("Received: 'conv', which 2 layers.*a/conv.*b/conv", "conv", teacher)


def test_many_layers_are_not_all_listed():
    stack = [layers.Dense(4, name=f"dense_{i}") for i in range(50)]
    teacher = nets.net(4, 1, *stack)
    refuse("dense_38 and 12 more", "conv", teacher)


class Twice(keras.Model):
    def __init__(self):
        super().__init__()
        self.hidden = layers.Dense(models.FEATURES, name="hidden")
        self.idle = layers.Dense(4, name="idle")
        self.halves = Halves(name="halves")
        self.head = layers.Dense(models.CLASSES)

    def build(self, shape):
        for layer in (self.hidden, self.idle, self.halves):
            layer.build(shape)
        self.head.build((None, 2))
        self.built = True

    def call(self, x):
        return self.head(self.halves(self.hidden(self.hidden(x)))[0])


class Halves(layers.Layer):
    def call(self, x):
        return x[:, :2], x[:, 2:]


class Table(layers.Layer):
    """Gives the same for all examples, whatever they are."""

    def call(self, x):
        return ops.ones((3, x.shape[-1]))


class WithTable(keras.Model):
    def __init__(self):
        super().__init__()
        self.table = Table(name="table")
        self.head = layers.Dense(models.CLASSES)

    def call(self, x):
        return self.head(x + ops.sum(self.table(x)))


def twice():
    model = Twice()
    model(X)
    return model


def test_what_is_no_one_tensor_of_a_pass_is_refused():
    refuse(
        "Received: 'hidden' of the teacher, called 2 times", "hidden", twice()
    )
    refuse("'idle' of the teacher, called 0 times", "idle", twice())
    refuse("'halves' of the teacher, which returns a tuple", "halves", twice())
    model = WithTable()
    model(X)
    refuse(r"'table' of the teacher, of shape \(3, 4\)", "table", model)


def recurrent():
    cell = layers.LSTMCell(4, name="cell")
    inputs = keras.Input((models.STEPS, 2))
    hidden = layers.RNN(cell, name="rnn")(inputs)
    return keras.Model(inputs, layers.Dense(models.CLASSES)(hidden))


def test_the_cell_of_a_recurrent_layer_is_refused():
    teacher, student = recurrent(), recurrent()
    with pytest.raises(ValueError, match="Received: .*'rnn/cell'"):
        matched("rnn/cell", "rnn", teacher, student)
    assert matched("rnn", "rnn", teacher, student).projectors == {}


def test_a_layer_that_is_computed_twice_is_refused():
    with keras.RematScope("full"):
        teacher = nets.net(6, seed=2)
    refuse("rematerialised is computed twice.*'hidden'", "hidden", teacher)


def test_models_must_be_built():
    refuse("`teacher` must be built.*Call it once", "hidden", nets.Subclassed())
    student = nets.Subclassed()
    with pytest.raises(ValueError, match="`student` must be built"):
        matched("hidden", "hidden", nets.net(), student)
    student(X)
    assert matched("hidden", "hidden", nets.net(), student).projectors == {}


def wrong(**kwargs):
    return lambda: hint(**kwargs)


WRONG = [
    (
        wrong(loss=keras.losses.mean_squared_error),
        TypeError,
        "`loss` must be a",
    ),
    (
        wrong(loss="nonsense"),
        ValueError,
        "Received: loss='nonsense'. Pass 'mse'",
    ),
    (wrong(loss="accuracy"), ValueError, "Received: loss='accuracy'"),
    (
        wrong(loss=keras.losses.MeanSquaredError(reduction=None)),
        ValueError,
        "`loss` must reduce to one number. Received: reduction=None",
    ),
    (wrong(loss=kd.losses.DKD()), ValueError, "must not use labels.*DKD"),
    (wrong(projector=lambda x: x), TypeError, "`projector` must be a layer"),
    (wrong(weight=-1), ValueError, "`weight` must not be negative"),
    (wrong(weight="1"), TypeError, "`weight` must be a real number"),
    (
        lambda: kd.losses.Feature(nets.net().layers[0], "hidden"),
        TypeError,
        "`teacher_layer` must be the name or path.*for a layer object its",
    ),
    (
        lambda: nets.still("hidden"),
        TypeError,
        "must be a list of kd.losses.Feat",
    ),
]


@pytest.mark.parametrize("make, error, message", WRONG)
def test_bad_arguments_are_refused(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_one_feature_is_no_list_of_them():
    with pytest.raises(TypeError, match=r"Pass \[kd.losses.Feature"):
        kd.Distiller(
            nets.net(5, seed=2),
            nets.net(),
            kd.losses.SoftTargets(2.0),
            feature_losses=hint(),
        )


@pytest.mark.parametrize(
    "loss", ["kl_divergence", "poisson", "categorical_crossentropy"]
)
def test_a_loss_that_does_not_compare_values_is_refused(loss):
    with pytest.raises(ValueError, match="smallest where the student's is the"):
        nets.still(hint(loss=loss))


def test_a_projector_belongs_to_one_feature():
    shared = layers.Dense(5)
    with pytest.raises(ValueError, match="a projector of its own. Received"):
        nets.still(hint(projector=shared), hint(projector=shared))


def test_what_is_fixed_cannot_be_set():
    model = nets.still(hint())
    [feature] = model.feature_losses
    for name in ("loss", "projector", "teacher_layer", "student_layer"):
        with pytest.raises(AttributeError, match="Only the `weight`"):
            setattr(feature, name, getattr(feature, name))
    with pytest.raises(AttributeError, match="`feature_losses` cannot be rep"):
        model.feature_losses = []
    with pytest.raises(ValueError, match="`weight` must not be negative"):
        feature.weight = -1.0
    assert feature.weight == 1.0


# Taking outputs.


def test_what_a_layer_gives_is_taken_by_who_asks():
    dense = layers.Dense(3)
    dense.build((None, 4))
    with taps.taken([dense, dense]) as found:
        outputs = dense(X)
    assert found[0] is found[1]
    assert len(found[0]) == 1 and found[0][0] is outputs
    dense(X)
    assert len(found[0]) == 1 and "call" not in vars(dense)


def test_an_error_takes_the_tap_off():
    dense = layers.Dense(3)
    dense.build((None, 4))
    with pytest.raises(KeyError), taps.taken([dense]):
        raise KeyError
    assert "call" not in vars(dense)


def test_threads_that_take_turns_each_take_their_own():
    dense = layers.Dense(3)
    dense.build((None, 4))
    first, last = threading.Event(), threading.Event()
    seen = {}

    def replica():
        with taps.taken([dense]) as found:
            first.set()
            last.wait(10)
            dense(X[:2])
            seen["other"] = [len(x) for x in found[0]]

    thread = threading.Thread(target=replica)
    with taps.taken([dense]) as found:
        thread.start()
        first.wait(10)
        dense(X)
    last.set()
    thread.join()
    assert [len(x) for x in found[0]] == [8] and seen["other"] == [2]
    assert "call" not in vars(dense)


def test_a_method_of_ones_own_is_put_back():
    dense = layers.Dense(3)
    dense.build((None, 4))

    def own(x):
        return x

    dense.call = own
    with taps.taken([dense]) as found:
        dense(X)
    assert found[0][0].shape == (8, 4)
    assert vars(dense)["call"] is own


def test_a_quantized_layer_is_taken_too():
    teacher = nets.net(6, seed=2)
    teacher.get_layer("hidden").quantize("int8")
    model = matched("hidden", "hidden", teacher, nets.net())
    expected = np.mean(
        (
            models.logits(teacher.layers[0], X)
            - nets.given(model.student, "hidden")
        )
        ** 2
    )
    assert feature_loss(model) == pytest.approx(expected, rel=1e-4)
