"""What a model's graph says of its outputs: logits or probabilities."""

from typing import Any

import keras

# Layers that keep a distribution a distribution, so a softmax before them
# counts as the model's last activation.
_PASS_THROUGH = (
    keras.layers.Dropout,
    keras.layers.Flatten,
    keras.layers.Permute,
    keras.layers.Reshape,
)


def activation_of(operation: Any) -> str | None:
    """Returns "softmax" or "sigmoid" if an operation ends in one."""
    if isinstance(operation, keras.layers.TimeDistributed):
        return activation_of(operation.layer)
    # A Softmax or Sigmoid is a layer, or the operation behind `keras.ops`.
    kind = type(operation).__name__.lower()
    activation = getattr(operation, "activation", None)
    name = getattr(activation, "__name__", None) or kind
    name = {"softmax_v2": "softmax"}.get(name, name)  # tf.nn.softmax
    return name if name in ("softmax", "sigmoid") else None


def output_activations(model: keras.Model) -> set[str]:
    """Returns which of "softmax" and "sigmoid" a model's outputs end in.

    Only what the graph of a Functional or Sequential model says; empty for a
    subclassed model.
    """
    found: set[str | None] = set()
    if isinstance(model, keras.Sequential) and not model.built:
        found.add(_last_activation(model.layers))
    else:
        for tensor in _outputs(model):
            found |= _activations_before(tensor)
    return {name for name in found if name}


def _outputs(model: keras.Model) -> list:
    return getattr(model, "outputs", None) or []


def _last_activation(layers: list) -> str | None:
    for layer in reversed(layers):
        if isinstance(layer, keras.Model):
            return next(iter(output_activations(layer)), None)
        if activation_of(layer) or not _passes_through(layer):
            return activation_of(layer)
    return None


def _activations_before(tensor: Any) -> set[str]:
    operation, node, index = source(tensor)
    if isinstance(operation, keras.Model):
        outputs = _outputs(operation)
        return _activations_before(outputs[index]) if outputs else set()
    activation = activation_of(operation)
    if activation:
        return {activation}
    if _passes_through(operation) and node.input_tensors:
        return _activations_before(node.input_tensors[0])
    return set()


def source(tensor: Any) -> tuple[Any, Any, int]:
    """Returns the operation, the node and the output index of a tensor."""
    history = tensor._keras_history
    node = history.operation._inbound_nodes[history.node_index]
    return history.operation, node, history.tensor_index


def _passes_through(operation: Any) -> bool:
    return is_identity(operation) or isinstance(operation, _PASS_THROUGH)


def is_identity(operation: Any) -> bool:
    """Whether a layer returns its inputs, in its own dtype."""
    linear = isinstance(operation, keras.layers.Activation) and (
        operation.activation is keras.activations.linear
    )
    return linear or isinstance(operation, keras.layers.Identity)


def require_logits(name: str, model: keras.Model) -> None:
    """Refuses a model that is known to end in probabilities, or in one unit."""
    found = output_activations(model)
    if "softmax" in found:
        raise ValueError(
            f"`{name}` must end in logits, but its last activation is a "
            f"softmax. Received: {name}={model.name!r}. Pass "
            f"kd.as_logits({name}), which shares its weights."
        )
    if "sigmoid" in found:
        raise ValueError(
            f"`{name}` must end in logits of classes that exclude each other, "
            f"but its last activation is a sigmoid. Received: {name}="
            f"{model.name!r}. Multi-label and binary heads are not supported; "
            "give the model a linear layer with one unit per class."
        )
    if any(tensor.shape[-1] == 1 for tensor in _outputs(model)):
        raise ValueError(
            f"`{name}` must have one output unit per class. Received: {name}="
            f"{model.name!r} with a single unit, whose softmax is always 1. "
            "Give a binary classifier two units."
        )
