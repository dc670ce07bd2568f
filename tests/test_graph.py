"""The end of a model: found, replaced, and cut off, wherever it is."""

import backend
import keras
import numpy as np
import pytest
from keras import layers, ops

from keras_distill._keras import graph

# Keras on torch converts tensors in a way that NumPy 2 warns about.
pytestmark = [
    pytest.mark.filterwarnings("ignore:__array__ implementation"),
    pytest.mark.internals,
]


def functional(apply, features=3):
    inputs = keras.Input((features,))
    return keras.Model(inputs, apply(inputs))


def sequential(*stack, features=3, name=None):
    return keras.Sequential([keras.Input((features,)), *stack], name=name)


def head(**kwargs):
    return layers.Dense(3, bias_initializer="normal", name="head", **kwargs)


class Subclassed(keras.Model):
    """Holds an activation that it does not end in."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.activation = keras.activations.softmax
        self.dense = layers.Dense(3)

    def call(self, x):
        return self.dense(self.activation(x))


def flat():
    return functional(lambda x: head()(layers.Dense(3, "tanh")(x)))


def nested():
    inner = sequential(layers.Dense(3, "tanh"), head(), name="inner")
    return sequential(sequential(inner, name="outer"))


def second_output():
    inputs = keras.Input((3,))
    two = keras.Model(inputs, [layers.Dense(3)(inputs), head()(inputs)])
    return functional(lambda x: two(x)[1])


def used_before():
    last = head()
    return functional(lambda x: last(ops.tanh(last(x))))


def nested_and_used_before():
    inner = sequential(layers.Dense(3, "tanh"), head(), name="inner")
    return functional(lambda x: inner(inner(x)))


def used_before_in_a_nested_model():
    return sequential(used_before())


def followed():
    """By layers that change nothing in inference."""
    return functional(
        lambda x: layers.Dropout(0.5)(layers.Identity()(flat()(x)))
    )


def by_keyword():
    inner = functional(lambda x: head()(x))
    return functional(
        lambda x: layers.Dropout(0.5)(inputs=inner(inputs=ops.tanh(x)))
    )


def second_of_a_list():
    return functional(
        lambda x: layers.Identity()([layers.Dense(3)(x), head()(x)])[1]
    )


MODELS = [flat, nested, second_output, used_before, nested_and_used_before]
MODELS += [
    used_before_in_a_nested_model,
    followed,
    by_keyword,
    second_of_a_list,
]
each_model = pytest.mark.parametrize("make", MODELS, ids=lambda f: f.__name__)


def passes(layer):
    return graph.is_identity(layer) or isinstance(layer, layers.Dropout)


def end_of(make):
    return graph.end_of(make(), passes)


def output(model):
    x = np.random.default_rng(0).normal(size=(4, 3)).astype("float32")
    return backend.to_numpy(model(x)).astype("float64")


@each_model
def test_the_last_layer_is_found(make):
    end = end_of(make)
    assert end.layer.name == "head"
    assert [tuple(tensor.shape) for tensor in end.inputs] == [(None, 3)]


@each_model
def test_its_last_use_alone_is_replaced(make):
    end = end_of(make)
    before = output(end.model)
    doubled = end.replaced(lambda x: 2 * end.layer(x), "_doubled")
    np.testing.assert_allclose(output(doubled), 2 * before, rtol=1e-6)
    np.testing.assert_array_equal(output(end.model), before)


@each_model
def test_the_model_before_it_gives_what_it_gets(make):
    end = end_of(make)
    kernel, bias = (w.astype("float64") for w in end.layer.get_weights())
    features = output(end.before("_features"))
    actual = features @ kernel + bias
    np.testing.assert_allclose(actual, output(end.model), atol=1e-6)


@each_model
def test_no_variable_is_made_anew(make):
    end = end_of(make)
    known = {id(variable) for variable in end.model.variables}
    again = end.replaced(end.layer, "_again")
    found = {id(variable) for variable in again.variables}
    assert {id(variable) for variable in end.layer.variables} <= found <= known


def test_names_of_the_model_and_of_those_around_the_layer():
    model = nested()
    other = graph.end_of(model).replaced(layers.Dense(2), "_other")
    outer = other.layers[-1]
    inner = outer.layers[-1]
    assert other.name == f"{model.name}_other"
    assert (outer.name, inner.name) == ("outer_other", "inner_other")
    assert other.output_shape == (None, 2)


@pytest.mark.parametrize("make", [nested, second_output, by_keyword])
def test_whether_it_is_nested(make):
    assert end_of(make).nested
    assert not graph.end_of(used_before()).nested


def test_layers_that_follow_are_called_as_before():
    model = functional(lambda x: layers.Dropout(0.5)(head()(x), training=True))
    again = graph.end_of(model, passes).replaced(head(), "_again")
    assert (output(again) == 0).any()


def test_layers_that_follow_can_be_adapted():
    model = functional(lambda x: layers.Reshape((3, 1))(head()(x)))
    end = graph.end_of(model, lambda la: isinstance(la, layers.Reshape))
    other = end.replaced(
        layers.Dense(4), "_other", lambda layer: layers.Reshape((2, 2))
    )
    assert other.output_shape == (None, 2, 2)


def test_nothing_is_let_through_unless_asked():
    end = graph.end_of(functional(lambda x: layers.Dropout(0.5)(head()(x))))
    assert isinstance(end.layer, layers.Dropout) and not end.after


def test_a_model_of_unknown_graph_is_a_last_layer():
    model = sequential(Subclassed())
    end = graph.end_of(model)
    assert isinstance(end.layer, Subclassed) and not end.nested
    assert graph.output_activations(model) == set()


USED_BEFORE = [used_before, used_before_in_a_nested_model]


@each_model
def test_whether_the_last_layer_is_used_before(make):
    assert end_of(make).used_before is (make in USED_BEFORE)
