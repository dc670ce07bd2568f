"""`as_logits` at its edges: dtypes, zeros, refusals, and models left alone."""

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
    return layers.Dense(CLASSES, activation=activation, **kwargs)


def output(model, x):
    return backend.to_numpy(model(x))


class Fixed(keras.Model):
    """Outputs the same numbers for every example."""

    def __init__(self, values, **kwargs):
        super().__init__(**kwargs)
        self.values = values

    def call(self, x):
        rows = ops.cast(ops.zeros((ops.shape(x)[0], 1)), self.compute_dtype)
        return rows + ops.cast(self.values, self.compute_dtype)


def as_logits_of(values, **kwargs):
    model = Fixed(values, **kwargs)
    model(batch(1))
    return output(kd.as_logits(model), batch(1))[0]


# Zeros and dtypes.


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_zero_probabilities_stay_finite(dtype):
    logits = as_logits_of([1.0, 0.0, 0.0], dtype=dtype)
    assert logits.dtype == "float32"
    assert np.isfinite(logits).all()
    np.testing.assert_allclose(logits[0], 0.0, atol=1e-6)
    # Below every probability of the dtype, so the class order is kept.
    smallest = {"float16": 2.0**-24}.get(dtype, 2.0**-126)
    np.testing.assert_allclose(logits[1:], np.log(smallest), rtol=1e-4)


def test_small_probabilities_are_kept():
    p = [1.0, 1e-30, 1e-10]
    np.testing.assert_allclose(as_logits_of(p), np.log(p), rtol=1e-5)


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
@pytest.mark.parametrize("last", [None, "float32"])
def test_mixed_precision(policy, last):
    softmax = layers.Activation("softmax", dtype=last or policy)
    model = sequential(dense(dtype=policy), softmax)
    fused = sequential(dense("softmax", dtype=policy))
    for probabilities in (model, fused):
        logits = kd.as_logits(probabilities)
        # float16 has 11 bits; the probabilities themselves are rounded to it.
        p = output(probabilities, batch(6)).astype("float64")
        actual = reference.softmax(output(logits, batch(6)))
        np.testing.assert_allclose(actual, p, atol=1e-2)


def test_a_policy_is_kept_by_the_cut_layer():
    model = sequential(dense("softmax", dtype="mixed_float16"))
    logits = kd.as_logits(model)
    assert logits.layers[-1].dtype_policy.name == "mixed_float16"
    assert logits.layers[-1].kernel is model.layers[-1].kernel


# The structure of inputs and layers.


def test_dict_inputs():
    inputs = {name: keras.Input((6,), name=name) for name in "ab"}
    joined = layers.Concatenate()(list(inputs.values()))
    model = keras.Model(inputs, dense("softmax")(joined))
    x = {"a": batch(6), "b": -batch(6)}
    logits = kd.as_logits(model)
    np.testing.assert_allclose(
        reference.softmax(output(logits, x)), output(model, x), atol=1e-6
    )


def test_masks_and_time_steps():
    model = sequential(layers.Masking(), dense("softmax"), shape=(5, 6))
    x = batch(5, 6)
    x[:, 3:] = 0.0
    logits = kd.as_logits(model)(x)
    mask = backend.to_numpy(logits._keras_mask)
    np.testing.assert_array_equal(mask, [[True] * 3 + [False] * 2] * 4)
    np.testing.assert_allclose(
        reference.softmax(backend.to_numpy(logits)), output(model, x), atol=1e-6
    )


def test_dropout_and_batch_norm_keep_their_modes():
    stack = [layers.BatchNormalization(), layers.Dropout(0.5)]
    model = sequential(*stack, dense("softmax"))
    logits = kd.as_logits(model)
    x = batch(6)
    first, second = (
        backend.to_numpy(logits(x, training=True)) for _ in range(2)
    )
    assert np.abs(first - second).max() > 0
    np.testing.assert_array_equal(output(logits, x), output(logits, x))
    assert model.layers[0] is logits.layers[1]


def test_a_masked_softmax_layer():
    x, mask = keras.Input((6,), name="x"), keras.Input((6,), name="mask")
    softmax = layers.Softmax()(x, mask=ops.cast(mask, "bool"))
    model = keras.Model({"x": x, "mask": mask}, softmax)
    keep = np.array([[1, 1, 1, 0, 0, 0]] * 4, "float32")
    data = {"x": batch(6), "mask": keep}
    logits = output(kd.as_logits(model), data)
    np.testing.assert_allclose(
        reference.softmax(logits), output(model, data), atol=1e-6
    )


def test_the_logits_of_a_model_with_two_heads_are_logits():
    inputs = keras.Input((6,))
    two = keras.Model(inputs, [dense()(inputs), dense("softmax")(inputs)])
    outer = keras.Input((6,))
    model = keras.Model(outer, two(outer)[0])
    assert kd.as_logits(model) is model


# Models that end in logits already.


def logits_functional():
    inputs = keras.Input((6,))
    return keras.Model(inputs, dense()(layers.Dense(4, "softmax")(inputs)))


LOGITS = {
    "sequential": lambda: sequential(dense()),
    "functional": logits_functional,
    "log_softmax": lambda: sequential(dense("log_softmax")),
    "cut before": lambda: kd.as_logits(sequential(dense("softmax"))),
    "logarithm before": lambda: kd.as_logits(
        sequential(dense("softmax"), layers.Reshape((CLASSES,)))
    ),
    "ensemble": lambda: kd.Ensemble([sequential(dense())]),
}


@pytest.mark.parametrize("make", LOGITS.values(), ids=LOGITS)
def test_logits_are_returned_as_they_are(make):
    model = make()
    assert kd.as_logits(model) is model


# Refusals.


def functional(head):
    inputs = keras.Input((6,))
    return keras.Model(inputs, head(inputs))


# Sigmoids.


def as_in_segmentation():
    conv = layers.Conv2D(1, 1, activation="sigmoid", bias_initializer="normal")
    return keras.Sequential(
        [keras.Input((2, 3, 6)), conv, layers.Reshape((6,))]
    )


SIGMOIDS = {
    "dense": (lambda: sequential(dense("sigmoid")), (6,)),
    "one unit": (
        lambda: sequential(layers.Dense(1, activation="sigmoid")),
        (6,),
    ),
    "activation layer": (
        lambda: sequential(dense(), layers.Activation("sigmoid")),
        (6,),
    ),
    "ops.sigmoid": (
        lambda: functional(lambda x: ops.sigmoid(dense()(x))),
        (6,),
    ),
    "nested": (lambda: sequential(sequential(dense("sigmoid"))), (6,)),
    "reshape": (
        lambda: sequential(dense("sigmoid"), layers.Reshape((3, 1))),
        (6,),
    ),
    "nested reshape": (
        lambda: sequential(
            sequential(dense("sigmoid"), layers.Reshape((3, 1))),
            layers.Flatten(),
        ),
        (6,),
    ),
    "segmentation": (as_in_segmentation, (2, 3, 6)),
}


@pytest.mark.parametrize(
    ("make", "shape"), SIGMOIDS.values(), ids=list(SIGMOIDS)
)
def test_sigmoids_are_cut_off(make, shape):
    model, x = make(), batch(*shape)
    p, logits = output(model, x), kd.as_logits(model)
    values = output(logits, x)
    np.testing.assert_allclose(reference.sigmoid(values), p, atol=1e-6)
    assert values.shape == p.shape and values.min() < 0
    ids = {id(variable) for variable in model.variables}
    assert {id(variable) for variable in logits.variables} == ids
    np.testing.assert_array_equal(output(model, x), p)
    assert kd.as_logits(logits) is logits


def test_the_logit_of_a_sigmoid_of_1_is_kept():
    model = sequential(layers.Dense(1, "sigmoid", kernel_initializer="ones"))
    x = 20 * np.ones((1, 6), "float32")
    assert output(model, x) == 1.0
    np.testing.assert_allclose(output(kd.as_logits(model), x), 120.0)


UNCUT = {
    "dropout": lambda: sequential(dense("sigmoid"), layers.Dropout(0.5)),
    "time-distributed": lambda: keras.Sequential(
        [keras.Input((2, 6)), layers.TimeDistributed(dense("sigmoid"))]
    ),
}


@pytest.mark.parametrize("make", UNCUT.values(), ids=UNCUT)
def test_sigmoids_that_cannot_be_cut_off_are_refused(make):
    with pytest.raises(ValueError, match="sigmoid that can be cut out of its"):
        kd.as_logits(make())


def test_unbuilt_models_are_refused_until_they_are_called():
    model = keras.Sequential([dense("softmax")])
    with pytest.raises(ValueError, match="must be built.*Call it on a batch"):
        kd.as_logits(model)
    p = output(model, batch(6))
    logits = kd.as_logits(model)
    actual = reference.softmax(output(logits, batch(6)))
    np.testing.assert_allclose(actual, p, atol=1e-6)


def test_a_softmax_over_one_class_is_cut_too():
    logits = kd.as_logits(sequential(layers.Dense(1, activation="softmax")))
    assert np.abs(output(logits, batch(6))).max() > 0


@pytest.mark.parametrize("last", [[], [layers.Reshape]])
def test_serves_as_a_teacher(last):
    model = sequential(dense("softmax"), *(r((CLASSES,)) for r in last))
    with pytest.raises(ValueError, match="kd.as_logits"):
        kd.Distiller(model, sequential(dense()), kd.losses.TTM(2.0))
    before = [backend.to_numpy(v.value).copy() for v in model.variables]
    teacher = kd.as_logits(model)
    distiller = kd.Distiller(
        teacher, sequential(dense()), kd.losses.TTM(2.0), hard_loss_weight=0
    )
    distiller.compile(optimizer="sgd", loss=None)
    history = distiller.fit(batch(6), epochs=2, verbose=0).history
    assert history["soft_loss"][1] < history["soft_loss"][0]
    for old, variable in zip(before, model.variables, strict=True):
        np.testing.assert_array_equal(old, backend.to_numpy(variable.value))
