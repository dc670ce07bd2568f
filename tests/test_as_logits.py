"""`as_logits`: the same model without its softmax, whatever the graph is."""

import backend
import keras
import numpy as np
import pytest
import reference
from keras import layers, ops

import keras_distill as kd

# Keras on torch converts tensors in a way that NumPy 2 warns about.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation")
CLASSES = 3


def batch(*shape):
    x = np.random.default_rng(0).normal(size=(4, *shape))
    return x.astype("float32")


def sequential(*stack, shape=(6,)):
    return keras.Sequential([keras.Input(shape), *stack])


def dense(activation=None, **kwargs):
    kwargs = {"bias_initializer": "normal", **kwargs}
    return layers.Dense(CLASSES, activation=activation, **kwargs)


def functional(head, shape=(6,)):
    inputs = keras.Input(shape)
    return keras.Model(inputs, head(layers.Dense(5, "tanh")(inputs)))


def nested():
    return functional(lambda h: sequential(dense("softmax"), shape=(5,))(h))


def nested_twice():
    inner = functional(
        lambda h: sequential(dense(), layers.Softmax(), shape=(5,))(h), (5,)
    )
    return sequential(layers.Dense(5, "relu"), inner)


def convolution():
    conv = layers.Conv2D(CLASSES, 1, activation="softmax")
    return sequential(conv, shape=(2, 2, 6))


def mobilenet():
    """The end of a `keras.applications` model, on a small body."""
    inputs = keras.Input((8, 8, 3))
    x = layers.Conv2D(4, 3, strides=2, use_bias=False)(inputs)
    x = layers.ReLU(6.0)(layers.BatchNormalization()(x))
    x = layers.GlobalAveragePooling2D()(x)
    head = layers.Dense(CLASSES, activation="softmax", name="predictions")
    return keras.Model(inputs, head(x))


def mobilenet_v1_head():
    inputs = keras.Input((8, 8, 3))
    x = layers.GlobalAveragePooling2D(keepdims=True)(inputs)
    x = layers.Conv2D(CLASSES, 1, padding="same", name="conv_preds")(x)
    x = layers.Reshape((CLASSES,))(x)
    return keras.Model(inputs, layers.Activation("softmax")(x))


def head_of_two(index):
    """A model that uses one output of a nested model with two."""
    inputs = keras.Input((6,))
    hidden = layers.Dense(5)(inputs)
    two = keras.Model(inputs, [dense()(hidden), dense("softmax")(hidden)])
    outer = keras.Input((6,))
    return keras.Model(outer, two(outer)[index])


def used_twice():
    """The softmax that stays belongs to the layer that loses one."""
    head = dense("softmax")
    return functional(lambda h: head(head(dense()(h))))


def nested_with_dropout():
    stack = dense("softmax"), layers.Dropout(0.5)
    return functional(lambda h: sequential(*stack, shape=(5,))(h))


def quantized():
    model = sequential(layers.Dense(8), dense("softmax"))
    model.layers[-1].quantize("int8")
    return model


def low_rank():
    model = sequential(dense("softmax"))
    model.layers[-1].enable_lora(2)
    model.layers[-1].lora_kernel_b.assign(np.ones((2, CLASSES)))
    return model


class Subclassed(keras.Model):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.dense = dense("softmax")

    def call(self, x):
        return self.dense(x)


def subclassed():
    model = Subclassed()
    model(batch(6))
    return model


# Models whose softmax can be cut off, and inputs for them.
CUT = {
    "sequential": (lambda: sequential(dense("softmax")), (6,)),
    "functional": (lambda: functional(dense("softmax")), (6,)),
    "softmax layer": (lambda: sequential(dense(), layers.Softmax()), (6,)),
    "activation layer": (
        lambda: sequential(
            dense(), layers.Activation("softmax", dtype="float32")
        ),
        (6,),
    ),
    "ops.softmax": (
        lambda: functional(lambda h: ops.softmax(dense()(h))),
        (6,),
    ),
    "activations.softmax": (
        lambda: functional(lambda h: keras.activations.softmax(dense()(h))),
        (6,),
    ),
    "convolution": (convolution, (2, 2, 6)),
    "nested": (nested, (6,)),
    "nested twice": (nested_twice, (6,)),
    "time-distributed softmax": (
        lambda: sequential(
            dense(), layers.TimeDistributed(layers.Softmax()), shape=(2, 6)
        ),
        (2, 6),
    ),
    "mobilenet": (mobilenet, (8, 8, 3)),
    "mobilenet v1": (mobilenet_v1_head, (8, 8, 3)),
    "second head": (lambda: head_of_two(1), (6,)),
    "lora": (low_rank, (6,)),
    "used twice": (used_twice, (6,)),
}
# Models whose softmax stays, so that the result takes the logarithm.
KEPT = {
    "subclassed": (subclassed, (6,)),
    "reshape": (
        lambda: sequential(
            dense("softmax"), layers.Reshape((1, CLASSES)), layers.Identity()
        ),
        (6,),
    ),
    "dropout": (
        lambda: sequential(dense("softmax"), layers.Dropout(0.5)),
        (6,),
    ),
    "nested dropout": (nested_with_dropout, (6,)),
    "time-distributed": (
        lambda: sequential(
            layers.TimeDistributed(dense("softmax")), shape=(2, 6)
        ),
        (2, 6),
    ),
}
# Either way will do.
OTHER = {"quantized": (quantized, (6,))}


def with_softmax_of_tensorflow():
    import tensorflow as tf

    return sequential(dense(tf.nn.softmax))


CUT["tf.nn.softmax"] = (with_softmax_of_tensorflow, (6,))
only_tensorflow = pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="a function of TensorFlow"
)
TRAINED = ["nested", "functional", "subclassed", "reshape", "time-distributed"]


def each(cases):
    marks = {"tf.nn.softmax": only_tensorflow}
    return pytest.mark.parametrize(
        ("make", "shape"),
        [
            pytest.param(*case, id=name, marks=marks.get(name, ()))
            for name, case in cases.items()
        ],
    )


def output(model, x):
    return backend.to_numpy(model(x))


@each(CUT | KEPT | OTHER)
def test_softmax_of_the_logits_is_the_power_transform(make, shape):
    model, x = make(), batch(*shape)
    p = output(model, x)
    logits = output(kd.as_logits(model), x)
    for temperature in (1.0, 4.0):
        actual = reference.softmax(logits, temperature)
        power = reference.power_transform(p.astype("float64"), 1 / temperature)
        np.testing.assert_allclose(actual, power, atol=1e-6)
    np.testing.assert_array_equal(output(model, x), p)


@each(CUT)
def test_cuts_the_softmax_off(make, shape):
    model, x = make(), batch(*shape)
    logits = kd.as_logits(model)
    assert not isinstance(logits, kd.LogProbabilities)
    # Log-probabilities would have a logsumexp of 0.
    values = output(logits, x)
    assert np.abs(np.log(np.exp(values).sum(axis=-1))).max() > 1e-3


@each(KEPT)
def test_takes_the_logarithm_where_it_cannot_cut(make, shape):
    model, x = make(), batch(*shape)
    logits = kd.as_logits(model)
    assert isinstance(logits, kd.LogProbabilities)
    np.testing.assert_allclose(
        output(logits, x), np.log(output(model, x)), atol=1e-6
    )


@each(CUT | KEPT)
def test_variables_are_shared_and_the_model_is_untouched(make, shape):
    model = make()
    config = [str(layer.get_config()) for layer in model.layers]
    logits = kd.as_logits(model)
    ids = {id(variable) for variable in model.variables}
    assert {id(variable) for variable in logits.variables} <= ids
    assert [str(layer.get_config()) for layer in model.layers] == config


@each({name: (CUT | KEPT)[name] for name in TRAINED})
def test_training_one_trains_the_other(make, shape):
    model, x = make(), batch(*shape)
    logits, before = kd.as_logits(model), output(model, x)
    labels = np.zeros(before.shape[:-1])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    logits.compile(optimizer=keras.optimizers.SGD(1.0), loss=loss)
    logits.fit(x, labels, epochs=1, verbose=0)
    assert output(model, x)[..., 0].mean() > before[..., 0].mean() + 1e-3
    trained = output(logits, x)
    np.testing.assert_allclose(
        reference.softmax(trained), output(model, x), atol=1e-6
    )
    loss = keras.losses.SparseCategoricalCrossentropy()
    model.compile(optimizer=keras.optimizers.SGD(1.0), loss=loss)
    model.fit(x, labels, epochs=1, verbose=0)
    assert np.abs(output(logits, x) - trained).max() > 1e-3


@each({name: CUT[name] for name in ("sequential", "nested", "ops.softmax")})
def test_a_cut_model_is_saved_as_a_plain_model(make, shape, tmp_path):
    logits, x = kd.as_logits(make()), batch(*shape)
    logits.save(tmp_path / "logits.keras")
    loaded = keras.saving.load_model(tmp_path / "logits.keras")
    assert type(loaded).__module__.startswith("keras.")
    np.testing.assert_array_equal(output(loaded, x), output(logits, x))


def test_log_probabilities_are_saved_and_loaded(tmp_path):
    make, shape = KEPT["reshape"]
    logits, x = kd.as_logits(make()), batch(*shape)
    logits.save(tmp_path / "logits.keras")
    loaded = keras.saving.load_model(tmp_path / "logits.keras")
    assert isinstance(loaded, kd.LogProbabilities)
    np.testing.assert_array_equal(output(loaded, x), output(logits, x))
