"""The layer that gives a model's logits, which a change of them may go into."""

from typing import Any

import keras

from keras_distill import _validation
from keras_distill._keras import graph

_LINEAR = (keras.layers.Dense, keras.layers.EinsumDense)


def ends_in_logits(model: Any, kind: str, labels_by: str = "") -> None:
    _validation.is_model("model", model)
    _validation.one_output("model", model)
    graph.require_logits("model", model, kind, labels_by)


def last_layer(model: keras.Model) -> Any:
    """The linear layer whose outputs are the logits, None without one."""
    end = graph.end_of(model, graph.is_identity)
    layer = end.layer
    if end.nested or not isinstance(layer, _LINEAR):
        return None
    linear = layer.activation in (None, keras.activations.linear)
    # A layer that the model uses twice has part in what it gets, too.
    return layer if linear and not end.used_before else None


def shape_of(variable: Any) -> tuple | None:
    return None if variable is None else tuple(variable.shape)


def behind(model: keras.Model, scale: float = 1.0, offset: Any = 0.0) -> Any:
    """The model with a layer behind it; a Sequential one gets it itself."""
    dtype = model.outputs[0].dtype
    layer = keras.layers.Rescaling(scale, offset, dtype=dtype)
    if isinstance(model, keras.Sequential):
        model.add(layer)
        return model
    outputs = keras.tree.map_structure(layer, model.output)
    return keras.Model(model.input, outputs, name=model.name)
