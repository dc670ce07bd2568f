"""Models whose last layer is easy to change, and some whose is not."""

import keras
import models
import numpy as np
from keras import layers

CLASSES = models.CLASSES


def sequential(*stack, shape=(models.FEATURES,)):
    return keras.Sequential([keras.Input(shape), *stack])


def dense(units=CLASSES, **kwargs):
    return layers.Dense(units, bias_initializer="normal", **kwargs)


def functional(apply):
    inputs = keras.Input((models.FEATURES,))
    return keras.Model(inputs, apply(inputs))


def einsum(bias_axes):
    head = layers.EinsumDense(
        "btf,fc->btc",
        output_shape=(None, CLASSES),
        bias_axes=bias_axes,
        bias_initializer="normal",
    )
    return sequential(head, shape=(models.STEPS, models.FEATURES))


def einsum_with_a_bias_per_step():
    head = layers.EinsumDense(
        "btf,fc->btc", output_shape=(models.STEPS, CLASSES), bias_axes="tc"
    )
    return sequential(head, shape=(models.STEPS, models.FEATURES))


def mixed(*end):
    """Computes in bfloat16, and ends in float32 or as `end` does."""
    return models.with_policy(
        "mixed_bfloat16", lambda: sequential(dense(), *end)
    )


def shared_head():
    """The last layer takes part in the logits twice."""
    head = dense(models.FEATURES)
    return functional(lambda x: head(head(x)))


def nested():
    inner = sequential(dense(4), layers.BatchNormalization(), dense())
    return functional(lambda x: inner(dense(models.FEATURES)(x)))


def nested_body():
    """A frozen model below a new head, as in transfer learning."""
    body = sequential(dense(4), layers.BatchNormalization())
    body.trainable = False
    return sequential(body, dense())


def with_state():
    """Moving averages that are not those of a new model, a frozen layer."""
    model = models.noisy()
    model.layers[1].trainable = False
    rng = np.random.default_rng(1)
    for weight in model.layers[2].weights:
        weight.assign(rng.uniform(1, 2, weight.shape))
    return model


LINEAR = layers.Activation
# Models whose shift goes into the bias of the last layer.
BIASED = {
    "sequential": models.sequential,
    "functional": models.functional,
    "EinsumDense": lambda: einsum("c"),
    "dict of inputs": lambda: models.two_inputs(named=True),
    "tagger": lambda: models.tagger(mask_zero=True),
    "linear": lambda: functional(
        lambda x: layers.Identity()(LINEAR("linear")(dense()(x)))
    ),
    "cast": lambda: mixed(LINEAR("linear", dtype="float32")),
    "frozen body": nested_body,
    "state": with_state,
}
# Models that get a layer for it.
ADDED = {
    "no bias": models.linear,
    "no bias, functional": lambda: functional(layers.Dense(3, use_bias=False)),
    "no bias, tagger": lambda: sequential(
        layers.Embedding(models.WORDS, 4, mask_zero=True),
        layers.Dense(CLASSES, use_bias=False),
        shape=(models.STEPS,),
    ),
    "EinsumDense": lambda: einsum(None),
    "a bias per step": einsum_with_a_bias_per_step,
    "tanh": lambda: sequential(dense(activation="tanh")),
    "mixed": lambda: models.linear(dtype="mixed_bfloat16"),
    "shared head": shared_head,
    "nested": nested,
}


def inputs_of(model):
    """Words for an embedding, else numbers; in the structure of the inputs."""
    rng = np.random.default_rng(2)
    words, _ = models.sequences()

    def one(tensor):
        if tensor.shape[1:] == (models.STEPS,):
            return words
        return rng.normal(size=(8, *tensor.shape[1:])).astype("float32")

    if isinstance(model, keras.Sequential):
        return one(model.inputs[0])
    return keras.tree.map_structure(one, model.input)


def flags(model):
    return [layer.trainable for layer in model._flatten_layers()]


def outputs(model):
    inputs = inputs_of(model)
    return models.logits(model, inputs).astype("float64")


def trained(model):
    """Which layers train, by name, without models and inputs."""
    return {
        layer.name: layer.trainable
        for layer in model._flatten_layers(recursive=True)
        if layer.weights and not isinstance(layer, keras.Model)
    }
