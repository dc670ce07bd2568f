"""build_specialist: architecture, weights, and the dustbin at the start."""

import backend
import keras
import numpy as np
import pytest
import specialist_problem as problem
from keras import layers

import keras_distill as kd
from keras_distill.specialists import _dustbin, build_specialist

CLASSES, SPECIAL = 6, [4, 1]
OTHERS = [0, 2, 3, 5]


def inputs(*shape):
    generator = np.random.default_rng(0)
    return generator.normal(size=(60, *shape)).astype("float32")


def mlp():
    stack = [layers.Dense(7, "tanh"), layers.Dropout(0.5)]
    return keras.Sequential(
        [keras.Input((5,)), *stack, layers.Dense(CLASSES)]
    ), inputs(5)


def without_bias():
    head = layers.Dense(CLASSES, use_bias=False)
    return keras.Sequential([keras.Input((5,)), head]), inputs(5)


def nested():
    inner = keras.Sequential(
        [keras.Input((7,)), layers.Dense(5, "relu"), layers.Dense(CLASSES)]
    )
    stack = [keras.Input((5,)), layers.Dense(7, "tanh"), inner]
    return keras.Sequential(stack), inputs(5)


def einsum():
    x = keras.Input((5,))
    head = layers.EinsumDense("ab,bc->ac", CLASSES, bias_axes="c")
    return keras.Model(x, head(x)), inputs(5)


def sequences():
    x = keras.Input((3, 5))
    return keras.Model(x, layers.Dense(CLASSES)(x)), inputs(3, 5)


def convolution():
    x = keras.Input((4, 4, 2))
    pooled = layers.GlobalAveragePooling2D(keepdims=True)(
        layers.Conv2D(5, 3, activation="relu")(x)
    )
    logits = layers.Conv2D(CLASSES, 1)(layers.Dropout(0.5)(pooled))
    return keras.Model(x, layers.Reshape((CLASSES,))(logits)), inputs(4, 4, 2)


def flattened():
    x = keras.Input((4, 4, 2))
    pooled = layers.GlobalAveragePooling2D(keepdims=True)(x)
    logits = layers.Conv2D(CLASSES, 1)(pooled)
    return keras.Model(x, layers.Flatten()(logits)), inputs(4, 4, 2)


def two_inputs():
    a, b = keras.Input((3,), name="a"), keras.Input((2,), name="b")
    joined = layers.Concatenate()([a, b])
    model = keras.Model({"a": a, "b": b}, layers.Dense(CLASSES)(joined))
    return model, {"a": inputs(3), "b": inputs(2)}


def application():
    model = keras.applications.MobileNet(
        input_shape=(32, 32, 3), alpha=0.25, weights=None, classes=CLASSES
    )
    return kd.as_logits(model), inputs(32, 32, 3)[:4]


KINDS = [mlp, without_bias, nested, einsum, sequences, convolution, flattened]
KINDS += [two_inputs, pytest.param(application, marks=pytest.mark.slow)]


def log_p(model, x):
    logits = backend.to_numpy(model(x, training=False)).astype("float64")
    logits = logits.reshape(-1, logits.shape[-1])
    return logits - np.logaddexp.reduce(logits, axis=1)[:, None]


def collapsed(model, x):
    found = log_p(model, x)
    rest = np.logaddexp.reduce(found[:, OTHERS], axis=1)
    return np.c_[found[:, SPECIAL], rest]


def divergence(log_target, log_q):
    return np.mean(np.sum(np.exp(log_target) * (log_target - log_q), axis=1))


def sharpened(model):
    """With logits far enough apart that their log-sum-exp is not linear."""
    *rest, head = model.get_weights(), None
    weights = [w * 3 for w in rest[0]]
    model.set_weights(weights)
    return head


@pytest.mark.parametrize("kind", KINDS, ids=lambda f: f.__name__)
def test_special_classes_are_as_the_generalist_has_them(kind):
    generalist, x = kind()
    specialist = build_specialist(generalist, SPECIAL)
    assert specialist.output_shape == (*generalist.output_shape[:-1], 3)
    assert specialist.name == f"{generalist.name}_specialist"
    given = [log[:, :2] for log in (log_p(specialist, x),)][0]
    wanted = collapsed(generalist, x)[:, :2]
    odds = given[:, 0] - given[:, 1]
    np.testing.assert_allclose(odds, wanted[:, 0] - wanted[:, 1], atol=2e-5)


@pytest.mark.parametrize("kind", [mlp, nested, convolution, sequences])
def test_a_row_fitted_to_examples_is_nearer_than_one_without(kind):
    generalist, x = kind()
    sharpened(generalist)
    target = collapsed(generalist, x)
    plain = build_specialist(generalist, SPECIAL)
    fitted = build_specialist(generalist, SPECIAL, inputs=x)
    before = divergence(target, log_p(plain, x))
    after = divergence(target, log_p(fitted, x))
    assert 0 <= after < 0.7 * before


def test_one_other_class_makes_it_exact():
    generalist, x = mlp()
    special = [5, 0, 1, 2, 4]
    specialist = build_specialist(generalist, special, inputs=x)
    expected = log_p(generalist, x)[:, [*special, 3]]
    np.testing.assert_allclose(log_p(specialist, x), expected, atol=1e-5)


def test_equal_other_logits_make_it_exact_without_examples():
    generalist, x = without_bias()
    (kernel,) = generalist.get_weights()
    kernel[:, OTHERS] = kernel[:, :1]
    generalist.set_weights([kernel])
    specialist = build_specialist(generalist, SPECIAL)
    expected = collapsed(generalist, x)
    np.testing.assert_allclose(log_p(specialist, x), expected, atol=1e-5)


def test_the_mean_row_is_a_lower_bound():
    generator = np.random.default_rng(0)
    kernel, bias = generator.normal(size=(5, 6)), generator.normal(size=6)
    h = generator.normal(size=(50, 5))
    w, b = _dustbin.mean_row(kernel, bias, np.array(OTHERS))
    exact = np.logaddexp.reduce((h @ kernel + bias)[:, OTHERS], axis=1)
    assert np.all(h @ w + b <= exact + 1e-12)


def test_the_fitted_row_is_the_best_one():
    """No nearby row has a smaller divergence."""
    generator = np.random.default_rng(0)
    kernel, bias = 2 * generator.normal(size=(3, 6)), generator.normal(size=6)
    h = generator.normal(size=(400, 3))
    logits = h @ kernel + bias
    log = logits - np.logaddexp.reduce(logits, axis=1)[:, None]
    target = np.c_[log[:, SPECIAL], np.logaddexp.reduce(log[:, OTHERS], 1)]

    def value(w, b):
        z = np.c_[logits[:, SPECIAL], h @ w + b]
        return divergence(target, z - np.logaddexp.reduce(z, axis=1)[:, None])

    w, b = _dustbin.fitted_row(kernel, bias, np.array(OTHERS), h)
    best = value(w, b)
    for _ in range(50):
        dw, db = generator.normal(size=3), generator.normal()
        assert value(w + 0.03 * dw, b + 0.03 * db) > best


def test_the_specialist_shares_nothing_with_the_generalist():
    generalist, x = mlp()
    before = generalist.get_weights()
    specialist = build_specialist(generalist, SPECIAL, inputs=x)
    for variable in specialist.weights:
        variable.assign(variable + 1)
    for kept, now in zip(before, generalist.get_weights(), strict=True):
        np.testing.assert_array_equal(kept, now)
    assert not specialist.compiled


@pytest.mark.parametrize("kind", [mlp, nested, convolution])
def test_the_generalists_graph_stays_as_it_is(kind):
    generalist, x = kind()

    def nodes():
        layers = generalist._flatten_layers()
        return [len(layer._inbound_nodes) for layer in layers]

    before = nodes()
    build_specialist(generalist, SPECIAL, inputs=x)
    assert nodes() == before


def test_frozen_layers_stay_frozen():
    generalist, _ = mlp()
    generalist.layers[0].trainable = False
    specialist = build_specialist(generalist, SPECIAL)
    assert len(specialist.trainable_weights) == 2


def test_a_full_softmax_is_a_copy():
    generalist, x = mlp()
    specialist = build_specialist(generalist, SPECIAL, full_softmax=True)
    assert specialist is not generalist
    np.testing.assert_array_equal(log_p(specialist, x), log_p(generalist, x))


def test_regularizers_and_constraints_stay():
    head = layers.Dense(
        CLASSES, kernel_regularizer="l2", kernel_constraint="max_norm"
    )
    generalist = keras.Sequential([keras.Input((5,)), head])
    last = build_specialist(generalist, SPECIAL).layers[-1]
    assert isinstance(last.kernel_regularizer, keras.regularizers.L2)
    assert isinstance(last.kernel_constraint, keras.constraints.MaxNorm)


def rescaled():
    x = keras.Input((5,))
    return keras.Model(x, layers.Rescaling(2.0)(layers.Dense(CLASSES)(x)))


def added():
    x = keras.Input((5,))
    return keras.Model(x, layers.Dense(CLASSES)(x) + layers.Dense(CLASSES)(x))


def not_linear():
    x = keras.Input((5,))
    return keras.Model(x, layers.Dense(CLASSES, "relu")(x))


@keras.saving.register_keras_serializable(package="test_specialist_build")
class Subclassed(keras.Model):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.dense = layers.Dense(CLASSES)

    def call(self, x):
        return self.dense(x)


def subclassed():
    return keras.Sequential([keras.Input((5,)), Subclassed()])


@pytest.mark.parametrize("make", [rescaled, added, not_linear, subclassed])
def test_other_heads_are_refused(make):
    with pytest.raises(ValueError, match="End the model with keras.layers.De"):
        build_specialist(make(), [1])


@pytest.mark.parametrize(
    "classes, text",
    [
        ([], "must be a list of class numbers below 6"),
        ([6], "must be a list of class numbers below 6"),
        ([-1], "must be a list of class numbers below 6"),
        ([1.5], "must be a list of class numbers below 6"),
        (3, "must be a list of class numbers below 6"),
        ([1, 1], "each class once"),
        (range(6), "leave at least one for the dustbin"),
    ],
)
def test_bad_classes_are_refused(classes, text):
    with pytest.raises(ValueError, match=text):
        build_specialist(mlp()[0], classes)


def test_other_generalists_are_refused():
    with pytest.raises(TypeError, match="must be a keras.Model"):
        build_specialist("model", [1])
    stack = [keras.Input((5,)), layers.Dense(4, "softmax")]
    with pytest.raises(ValueError, match=r"kd.as_logits\(generalist\)"):
        build_specialist(keras.Sequential(stack), [1])
    unbuilt = keras.Sequential([layers.Dense(4)])
    with pytest.raises(ValueError, match="Functional or Sequential"):
        build_specialist(unbuilt, [1])


def test_examples_that_end_at_once_are_refused():
    with pytest.raises(ValueError, match="at least one batch"):
        build_specialist(mlp()[0], [1], inputs=iter([]))


# The correction.


@pytest.mark.parametrize("portion", [0.5, 0.2, 0.9])
def test_correction_is_exact_by_bayes(portion):
    """From the posterior under the mix to the natural one."""
    joint = problem.COUNTS / problem.COUNTS.sum()
    pi = problem.natural_share()
    mixed = joint.copy()
    mixed[:, problem.SPECIAL] *= portion / pi
    mixed[:, problem.OTHERS] *= (1 - portion) / (1 - pi)
    learned = np.log(problem.collapsed(mixed))
    learned[:, -1] += kd.specialists.dustbin_correction(pi, portion)
    found = np.exp(learned) / np.exp(learned).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(found, problem.collapsed(), rtol=1e-12)


def test_half_and_half_is_the_papers_form():
    found = kd.specialists.dustbin_correction(0.1)
    np.testing.assert_allclose(found, np.log(0.9 / 0.1))


@pytest.mark.parametrize("bad", [0, 1, -0.1, 1.1, float("nan")])
def test_bad_shares_are_refused(bad):
    with pytest.raises(ValueError, match="natural_share"):
        kd.specialists.dustbin_correction(bad)
    with pytest.raises(ValueError, match="special_share"):
        kd.specialists.dustbin_correction(0.5, bad)
