"""Functions of tensors, compiled as Keras compiles a step; and gradients."""

from collections.abc import Callable
from typing import Any

import keras

from keras_distill._keras.jax import jitted

Tensor = Any


def compiled(function: Callable, jit_compile: bool = True) -> Callable:
    """The function, compiled once for each set of shapes.

    Args:
        function: Of structures of tensors and None, without side effects.
        jit_compile: Whether XLA can compile it; `Model.jit_compile`, say.
    """
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        return tf.function(
            function, jit_compile=jit_compile, reduce_retracing=True
        )
    return jitted(function) if jit_compile else function


def compiled_as(function: Callable, model: keras.Model) -> Callable:
    """The function, compiled as the steps of a model are, or not at all."""
    if model.run_eagerly:
        return function
    return compiled(function, model.jit_compile)


def gradient(function: Callable[[list], Tensor], values: list) -> list:
    """The gradient of a scalar function of a list of tensors.

    It is 0 for those that the function does not depend on.
    """
    gradient_of = {"jax": _jax, "tensorflow": _tensorflow, "torch": _torch}
    return gradient_of[keras.backend.backend()](function, values)


def _jax(function: Callable, values: list) -> list:
    import jax

    return jax.grad(function)(values)


def _tensorflow(function: Callable, values: list) -> list:
    import tensorflow as tf

    values = [tf.convert_to_tensor(value) for value in values]
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(values)
        result = function(values)
    slopes = tape.gradient(
        result, values, unconnected_gradients=tf.UnconnectedGradients.ZERO
    )
    # That of an embedding comes as the rows that were looked up.
    return [tf.convert_to_tensor(slope) for slope in slopes]


def _torch(function: Callable, values: list) -> list:
    import torch

    values = [value.detach().requires_grad_() for value in values]
    with torch.enable_grad():
        result = function(values)
    return list(
        torch.autograd.grad(
            result, values, allow_unused=True, materialize_grads=True
        )
    )
