"""The layer that makes a classifier's logits: found, read and replaced."""

from typing import Any, NamedTuple

import keras
import numpy as np

from keras_distill._keras import graph, layout

_CONV = (keras.layers.Conv1D, keras.layers.Conv2D, keras.layers.Conv3D)
_AFTER = (keras.layers.Dropout, keras.layers.Flatten, keras.layers.Reshape)


class Head(NamedTuple):
    """A linear layer, with float64 copies of what it holds for each class."""

    layer: keras.layers.Layer
    kernel: np.ndarray  # (features, classes)
    bias: np.ndarray  # (classes,)


def head_of(model: keras.Model) -> Head:
    """The layer behind a Functional or Sequential model's logits."""
    return _read(model, _end_of(model).layer)


def features_of(model: keras.Model) -> keras.Model:
    """A model of what the head gets.

    It has the layers of the given model, whose graph nested models grow.
    """
    return _end_of(model).before("_features")


def with_head(
    model: keras.Model, kernel: np.ndarray, bias: np.ndarray
) -> keras.Model:
    """The same layers under a head of other rows."""
    end, units = _end_of(model), len(bias)
    sizes = (model.outputs[0].shape[-1], units)
    new = _new_layer(end.layer, units)
    with layout.as_far_as_divisible():
        result = end.replaced(
            new, "_specialist", lambda la: _resized(la, sizes)
        )
    new.set_weights([kernel.reshape(tuple(new.kernel.shape)), bias])
    return result


def _end_of(model: keras.Model) -> graph.End:
    end = graph.end_of(model, _comes_after)
    _require_linear(model, end.layer)
    return end


def _comes_after(layer: Any) -> bool:
    return graph.is_identity(layer) or isinstance(layer, _AFTER)


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
