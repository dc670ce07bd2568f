"""The layer that makes a classifier's logits: found, read and replaced."""

from collections.abc import Callable
from typing import Any, NamedTuple

import keras
import numpy as np

from keras_distill._keras import graph

Tensor = Any
_CONV = (keras.layers.Conv1D, keras.layers.Conv2D, keras.layers.Conv3D)
_AFTER = (keras.layers.Dropout, keras.layers.Flatten, keras.layers.Reshape)


class Head(NamedTuple):
    """A linear layer, with float64 copies of what it holds for each class."""

    layer: keras.layers.Layer
    kernel: np.ndarray  # (features, classes)
    bias: np.ndarray  # (classes,)


def head_of(model: keras.Model) -> Head:
    """The layer behind a Functional or Sequential model's logits."""
    return _read(model, _head_layer(model, model.outputs[0]))


def _head_layer(model: keras.Model, tensor: Tensor) -> keras.layers.Layer:
    operation, node, index = graph.source(tensor)
    if isinstance(operation, keras.Model):
        return _head_layer(model, operation.outputs[index])
    if _comes_after(operation, node):
        return _head_layer(model, node.input_tensors[0])
    _require_linear(model, operation)
    return operation


def features_of(model: keras.Model) -> keras.Model:
    """A model of what the head gets.

    It has the layers of the given model, whose graph nested models grow.
    """
    return _like(model, _before_head(model.outputs[0]))


def with_head(
    model: keras.Model, kernel: np.ndarray, bias: np.ndarray, name: str
) -> keras.Model:
    """The same layers under a head of other rows."""
    head, units = head_of(model), len(bias)

    def make(layer: keras.layers.Layer) -> Callable:
        return _new_layer(layer, units)

    sizes = (len(head.bias), units)
    result = _like(model, _rebuilt(model.outputs[0], make, sizes), name)
    new = head_of(result).layer
    new.set_weights([kernel.reshape(tuple(new.kernel.shape)), bias])
    return result


def _like(model: keras.Model, output: Tensor, name: str | None = None) -> Any:
    sequential = isinstance(model, keras.Sequential)
    inputs = model.inputs[0] if sequential else model.input
    return keras.Model(inputs, output, name=name)


def _rebuilt(tensor: Tensor, make: Callable, sizes: tuple[int, int]) -> Tensor:
    """The logits again, made by `make(head)` in the place of the head."""
    operation, node, index = graph.source(tensor)
    if isinstance(operation, keras.Model):
        inner = _rebuilt(operation.outputs[index], make, sizes)
        outer = _like(operation, inner, f"{operation.name}_specialist")
        return outer(*node.arguments.args, **node.arguments.kwargs)
    if _comes_after(operation, node):
        below = _rebuilt(node.input_tensors[0], make, sizes)
        return _resized(operation, sizes)(below)
    return make(operation)(node.input_tensors[0])


def _before_head(tensor: Tensor) -> Tensor:
    operation, node, index = graph.source(tensor)
    if isinstance(operation, keras.Model):
        inner = _before_head(operation.outputs[index])
        outer = _like(operation, inner)
        return outer(*node.arguments.args, **node.arguments.kwargs)
    if _comes_after(operation, node):
        return _before_head(node.input_tensors[0])
    return node.input_tensors[0]


def _comes_after(operation: Any, node: Any) -> bool:
    keeps = graph.is_identity(operation) or isinstance(operation, _AFTER)
    return keeps and len(node.input_tensors) == 1


def _resized(layer: Any, sizes: tuple[int, int]) -> keras.layers.Layer:
    if not isinstance(layer, keras.layers.Reshape):
        return layer
    before, after = sizes
    *others, last = layer.target_shape
    shape = [*others, after if last == before else last]
    return keras.layers.Reshape(shape, name=layer.name, dtype=layer.dtype)


def _require_linear(model: keras.Model, layer: Any) -> None:
    pointwise = isinstance(layer, _CONV) and (
        set(layer.kernel_size) == {1} and layer.groups == 1
    )
    kinds = (keras.layers.Dense, keras.layers.EinsumDense, *_CONV)
    known = any(type(layer).call is kind.call for kind in kinds)
    linear = getattr(layer, "activation", None) in (
        None,
        keras.activations.linear,
    )
    plain = not getattr(layer, "quantization_mode", None)
    flat = pointwise or isinstance(layer, keras.layers.Dense)
    if isinstance(layer, keras.layers.EinsumDense):
        flat = _is_dense(layer.equation)
    if not (known and flat and linear and plain):
        raise ValueError(
            "The generalist's logits must come from a Dense, EinsumDense or "
            "1x1 convolution layer that is linear, not quantised, and followed "
            "by nothing but Flatten, Reshape or Dropout. Received: model="
            f"{model.name!r}, whose logits come from {layer.name!r}, a "
            f"{type(layer).__name__}. End the model with keras.layers.Dense("
            "classes)."
        )


def _is_dense(equation: str) -> bool:
    """Whether an equation is `...a,ab->...b`, as a Dense layer's would be."""
    inputs, _, rest = equation.replace(" ", "").partition(",")
    kernel, _, outputs = rest.partition("->")
    return (
        len(kernel) == 2
        and inputs.endswith(kernel[0])
        and outputs == inputs[:-1] + kernel[1]
    )


def _read(model: keras.Model, layer: Any) -> Head:
    kernel = keras.ops.convert_to_numpy(layer.kernel).astype("float64")
    kernel = kernel.reshape(-1, kernel.shape[-1])
    if kernel.shape[-1] != model.outputs[0].shape[-1]:
        raise ValueError(
            "The generalist's last layer must have one unit per class. "
            f"Received: {kernel.shape[-1]} units of {layer.name!r} for outputs "
            f"of shape {tuple(model.outputs[0].shape)}."
        )
    if layer.bias is None:
        return Head(layer, kernel, np.zeros(kernel.shape[-1]))
    bias = keras.ops.convert_to_numpy(layer.bias).astype("float64")
    return Head(layer, kernel, bias.reshape(-1))


def _new_layer(layer: Any, units: int) -> keras.layers.Layer:
    """A layer like the head, with another number of units."""
    same = {
        key: getattr(layer, key)
        for key in (
            "kernel_regularizer",
            "bias_regularizer",
            "kernel_constraint",
            "bias_constraint",
        )
    }
    same |= {"name": f"{layer.name}_specialist", "dtype": layer.dtype_policy}
    if isinstance(layer, _CONV):
        strides, padding = layer.strides, layer.padding
        return type(layer)(units, 1, strides, padding, **same)
    return keras.layers.Dense(units, **same)
