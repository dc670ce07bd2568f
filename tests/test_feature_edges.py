"""Features at their edges: what is refused, and what counts."""

import feature_models as nets
import keras
import models
import numpy as np
import pytest
from feature_models import X, Y, close, hint
from keras import layers

import keras_distill as kd

BACKEND = keras.backend.backend()
SIDE = 4
MAPS = np.random.default_rng(0).normal(size=(8, SIDE, SIDE, 1)).astype("f")
ATTENTION = kd.losses.AttentionTransfer


def conv(channels, seed=1, order="channels_last", *more):
    keras.utils.set_random_seed(seed)
    first = order == "channels_first"
    shape = (1, SIDE, SIDE) if first else (SIDE, SIDE, 1)
    maps = layers.Conv2D(channels, 1, data_format=order, name="map")
    head = [*more, layers.Flatten(), layers.Dense(models.CLASSES)]
    return keras.Sequential([keras.Input(shape), maps, *head])


def mapped(loss, teacher, student, layer="map", **kwargs):
    feature = kd.losses.Feature(layer, layer, loss, **kwargs)
    return nets.still(feature, teacher=teacher, student=student)


# Losses of positions, of examples, and of both.


def test_attention_of_vectors_is_refused():
    with pytest.raises(ValueError, match=r"positions.*Received: \(None, 5\)"):
        nets.still(hint(loss=ATTENTION()))
    for shape in (3, 4), (3, 1, 4), (3, 1, 1, 4):
        with pytest.raises(ValueError, match="of one position"):
            ATTENTION()(np.ones(shape), np.ones(shape))


def test_losses_of_examples_may_be_summed():
    pair = conv(3, 2), conv(2)
    weights = np.arange(8, dtype="float32")
    twice = kd.losses.Sum([ATTENTION(), ATTENTION()], [0.5, 0.5])
    one, other = (
        models.step(mapped(loss, *pair), MAPS, Y, sample_weight=weights)
        for loss in (ATTENTION(), twice)
    )
    assert one["feature_loss"] == pytest.approx(other["feature_loss"], rel=1e-5)


@pytest.mark.parametrize("other", [keras.losses.MeanSquaredError, "cosine"])
def test_losses_of_positions_and_of_examples_are_not_summed(other):
    other = kd.losses.CosineDistance if other == "cosine" else other
    message = f"Received: AttentionTransfer, {other.__name__}. Pass a"
    with pytest.raises(ValueError, match=message):
        kd.losses.Sum([ATTENTION(), other()])


# Maps with channels first.

TURNS = (((2, 3, 1), "last"), ((3, 1, 2), "back"))


@pytest.mark.parametrize(
    "loss", [ATTENTION, kd.losses.CosineDistance, keras.losses.MeanSquaredError]
)
@pytest.mark.parametrize("channels", [2, 3])
def test_channels_first_are_refused(loss, channels):
    pair = conv(3, 2, "channels_first"), conv(channels, 1, "channels_first")
    message = "'map' of the teacher.*with channels first"
    with pytest.raises(ValueError, match=message):
        mapped(loss(), *pair)
    assert mapped(kd.losses.RKD(), *pair).feature_losses


def test_channels_first_by_default_are_refused(monkeypatch):
    def after_conv():
        return conv(3, 2, "channels_last", layers.ReLU(name="relu"))

    pair = after_conv(), after_conv()
    assert mapped("mse", *pair, "relu")
    monkeypatch.setattr(
        keras.config, "image_data_format", lambda: "channels_first"
    )
    assert mapped("mse", *pair)  # A layer that says what it has.
    with pytest.raises(ValueError, match="'relu'.*with channels first"):
        mapped("mse", *pair, "relu")


def test_turned_maps_are_taken():
    def turned(channels, seed):
        turns = [layers.Permute(dims, name=name) for dims, name in TURNS]
        return conv(channels, seed, "channels_first", *turns)

    model = mapped(ATTENTION(), turned(3, 2), turned(2, 1), "last")
    assert model.feature_losses[0].teacher_layer == "last"


# Projectors.


def test_what_a_projector_adds_to_the_loss_counts():
    class Adds(layers.Dense):
        def call(self, x):
            self.add_loss(keras.ops.convert_to_tensor(7.0))
            return super().call(x)

    activity = keras.regularizers.L2(10.0)
    model = nets.still(
        hint(projector=Adds(5, activity_regularizer=activity)), hint(weight=0)
    )
    logs = models.step(model, X, Y)
    hidden = nets.given(model.student, "hidden")
    projected = models.logits(model.projectors["0"], hidden)
    added = 7 + 10 * np.sum(projected**2) / len(X)
    terms = logs["hard_loss"] + logs["soft_loss"] + logs["feature_loss"]
    close(logs["loss"], terms + added, 1e-4)


def test_weights_that_come_before_the_teacher_are_refused(tmp_path):
    path, loss = tmp_path / "all.weights.h5", kd.losses.SoftTargets(2.0)
    trained = nets.distiller(hint())
    trained.save_weights(path)
    fresh = kd.Distiller(None, nets.net(), loss, feature_losses=[hint()])
    with pytest.raises(ValueError, match=r"features number \[0\].*Set distil"):
        fresh.load_weights(path)
    fresh.teacher = trained.teacher
    fresh.load_weights(path)
    found, expected = (m.projectors["0"] for m in (fresh, trained))
    models.assert_same(nets.arrays(found), nets.arrays(expected))


def test_the_students_loss_in_a_loop_has_no_projector_in_it():
    projector = layers.Dense(5, kernel_regularizer="l2")
    model = nets.still(hint(projector=projector))
    outputs = model(X, training=False)
    found = model.compute_loss(X, Y, outputs, training=False)
    expected = models.evaluate(model, X, Y)["loss"]
    close(float(keras.ops.convert_to_numpy(found)), expected)


@pytest.mark.skipif(BACKEND != "tensorflow", reason="it is TensorFlow's")
def test_a_teacher_set_outside_of_a_strategy():
    import tensorflow as tf

    with tf.distribute.MirroredStrategy(["cpu:0"]).scope():
        teacher, student = nets.net(5, seed=2), nets.net()
        loss = kd.losses.SoftTargets(2.0)
        model = kd.Distiller(None, student, loss, feature_losses=[hint()])
        model.compile(keras.optimizers.SGD(0.0), models.CROSSENTROPY)
    model.teacher = teacher
    logs = models.fit(model, X, Y)
    expected = nets.mean_square(teacher, student, model.projectors["0"])
    close(logs["feature_loss"], [expected.mean()])


# Weights, numbers and names.


def test_weights_of_one_of_two_outputs_are_refused():
    loss = dict.fromkeys("ab", models.CROSSENTROPY)
    model = nets.still(hint(), **nets.heads(), loss=loss)
    weights = {"a": np.ones(8, "float32"), "b": None}
    with pytest.raises(ValueError, match="sample weights for 2 outputs"):
        models.step(model, X, {"a": Y, "b": Y}, sample_weight=weights)


def test_each_scheduled_weight_has_a_name_of_its_own():
    falling = keras.optimizers.schedules.PolynomialDecay(1.0, 4, 0.0)
    slower = keras.optimizers.schedules.PolynomialDecay(1.0, 8, 0.0)
    model = nets.still(hint(weight=falling), hint(weight=slower))
    logs = models.fit(model, X, Y, batch_size=4)
    close(logs["hidden_0_feature_weight"], [0.5])
    close(logs["hidden_1_feature_weight"], [0.75])


def test_nothing_to_train_on_is_refused_at_the_next_fit():
    both = hint(), kd.losses.Feature("head", "head")
    model = nets.still(*both, hard=0, soft=0, loss=None)
    models.fit(model, X)
    for feature in model.feature_losses:
        feature.weight = 0
    with pytest.raises(ValueError, match="must not both be 0"):
        models.fit(model, X)


def test_members_of_one_name_are_to_be_renamed():
    members = [nets.net(5, seed=seed) for seed in (2, 3)]
    for member in members:
        member.name = "member"
    message = "which 2 layers of the teacher have. Give their layers, or models"
    with pytest.raises(ValueError, match=message):
        nets.still(
            kd.losses.Feature("member/hidden", "hidden"),
            teacher=kd.Ensemble(members),
        )
    members[1].name = "other"
    feature = kd.losses.Feature("other/hidden", "hidden")
    assert nets.still(feature, teacher=kd.Ensemble(members))


def test_a_subclass_may_have_arguments_of_others():
    class Mine(kd.Distiller):
        def __init__(self, teacher, student, temperature=2.0, **kwargs):
            loss = kd.losses.SoftTargets(temperature)
            super().__init__(teacher, student, loss, **kwargs)

    made = Mine(nets.net(seed=2), nets.net(), temperature=3.0)
    assert made.distillation_loss.temperature == 3.0
    with pytest.raises(TypeError, match="`alpha` is hard_loss_weight"):
        Mine(nets.net(seed=2), nets.net(), alpha=3.0)


# Models.


class Tokens(keras.Model):
    """Takes rows by number, which Keras does not know of it."""

    def __init__(self):
        super().__init__()
        self.table = self.add_weight((models.WORDS, 4), name="table")
        self.hidden = layers.Dense(4, name="hidden")
        self.head = layers.Dense(models.CLASSES)

    def call(self, x):
        rows = keras.ops.take(self.table, x, axis=0)
        return self.head(self.hidden(rows))


def test_a_subclassed_model_of_numbers():
    words, labels = models.sequences()
    pair = Tokens(), Tokens()
    for model in pair:
        model(words)
    distiller = nets.still(hint(), teacher=pair[0], student=pair[1])
    logs = models.step(distiller, words, labels)
    f, g = (
        models.logits(model.hidden, nets.arrays(model)[0][words])
        for model in pair
    )
    close(logs["feature_loss"], np.mean((f - g) ** 2), 1e-4)


def test_a_stateful_layer_of_a_fixed_batch():
    def stateful(seed):
        keras.utils.set_random_seed(seed)
        inputs = keras.Input(batch_shape=(8, 5, models.FEATURES))
        cell = layers.LSTM(4, stateful=True, unroll=True)
        hidden = layers.Dense(4, name="hidden")(cell(inputs))
        return keras.Model(inputs, layers.Dense(models.CLASSES)(hidden))

    # Keras's stateful layers do not train on torch.
    model = nets.still(hint(), teacher=stateful(2), student=stateful(1))
    assert model.feature_losses and not model.projectors


def test_a_rematerialised_model_is_refused():
    def dense(name):
        return layers.Dense(5, name=name)

    inputs = keras.Input((models.FEATURES,))
    outputs = layers.Dense(models.CLASSES)(dense("hidden")(inputs))
    with keras.RematScope("full"):
        teacher = keras.Model(inputs, outputs)
    with pytest.raises(ValueError, match="rematerialised is computed twice"):
        nets.still(hint(), teacher=teacher)
    with keras.RematScope("list_of_layers", layer_names=["other"]):
        stack = [keras.Input((models.FEATURES,)), dense("hidden")]
        teacher = keras.Sequential([*stack, layers.Dense(models.CLASSES)])
    assert nets.still(hint(), teacher=teacher)
