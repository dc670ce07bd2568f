"""Copies of models, with weights of their own, and twins of layers."""

import contextlib
from collections.abc import Iterator
from typing import Any

import keras

from keras_distill._keras import layout
from keras_distill._keras.layers import all_layers

_LOOKUPS = (keras.layers.IntegerLookup, keras.layers.StringLookup)


def require_graph(name: str, model: keras.Model) -> None:
    """Refuses a model that is subclassed, or not built."""
    if not getattr(model, "outputs", None):
        kind = type(model).__name__
        raise ValueError(
            f"`{name}` must be a Functional or Sequential model that is built. "
            f"Received: {name}={model.name!r}, a {kind} without symbolic "
            "outputs. Wrap a subclassed model in keras.Sequential([keras.Input("
            "shape), model]), and build a Sequential one with model.build."
        )


def copy_of(name: str, model: keras.Model) -> keras.Model:
    """A copy that shares nothing with the model, not compiled."""
    try:
        with not_compiled(model), layout.as_far_as_divisible():
            copy = keras.models.clone_model(model)
        copy.set_weights(model.get_weights())
        _copy_adapted(model, copy)
    except (NotImplementedError, TypeError, ValueError) as error:
        raise ValueError(
            f"`{name}` must be one that keras.models.clone_model can copy, "
            f"with its weights. Received: {name}={model.name!r}, for which "
            f"that fails: {error}"
        ) from error
    # A clone forgets that a nested model is frozen.
    layers = all_layers(model), all_layers(copy)
    for layer, copied in zip(*layers, strict=True):
        if copied.trainable != layer.trainable:
            copied.trainable = layer.trainable
    return copy


def _copy_adapted(model: keras.Model, copy: keras.Model) -> None:
    """What preprocessing layers have learned by `adapt`, beside weights."""
    layers = all_layers(model), all_layers(copy)
    for layer, copied in zip(*layers, strict=True):
        if isinstance(layer, _LOOKUPS):
            words = layer.get_vocabulary(include_special_tokens=False)
            copied.set_vocabulary(words)
        elif isinstance(layer, keras.layers.Normalization):
            copied.finalize_state()


@contextlib.contextmanager
def not_compiled(model: keras.Model) -> Iterator[None]:
    """Keras would compile a clone, and fail where a loss is a lambda."""
    compiled, model.compiled = model.compiled, False
    try:
        yield
    finally:
        model.compiled = compiled


def twin_of(layer: keras.layers.Layer, **changes: Any) -> keras.layers.Layer:
    """A layer of a changed config that owns the very variables of another."""
    twin = type(layer).from_config({**layer.get_config(), **changes})
    for name, value in vars(layer).items():
        if isinstance(value, keras.Variable):
            setattr(twin, name, value)
    twin.built = True
    return twin
