"""Gradients, 64-bit floats and compilation on whichever backend runs."""

import contextlib

import keras
import numpy as np
from keras import ops


def float64():
    """Context in which tensors may be float64: JAX needs to be told."""
    if keras.backend.backend() != "jax":
        return contextlib.nullcontext()
    import jax

    if hasattr(jax, "enable_x64"):
        return jax.enable_x64(True)
    from jax.experimental import enable_x64

    return enable_x64()


def value_and_grad(fn, x):
    """Value and gradient at `x` of a function to a scalar, as NumPy arrays."""
    gradient_of = {"jax": _jax, "tensorflow": _tensorflow, "torch": _torch}
    pair = gradient_of[keras.backend.backend()](fn, ops.convert_to_tensor(x))
    return tuple(to_numpy(tensor) for tensor in pair)


def to_numpy(x):
    """Like `ops.convert_to_numpy`, which warns on torch with NumPy 2."""
    if keras.backend.standardize_dtype(x.dtype) == "bfloat16":
        x = ops.cast(x, "float32")
    x = ops.stop_gradient(x)
    return x.numpy() if hasattr(x, "numpy") else np.asarray(x)


def compiled(fn):
    """The function compiled, or on torch the function without autograd."""
    if keras.backend.backend() == "jax":
        import jax

        return jax.jit(fn)
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        return tf.function(fn)
    import torch

    return torch.no_grad()(fn)


def _jax(fn, x):
    import jax

    return jax.value_and_grad(fn)(x)


def _tensorflow(fn, x):
    import tensorflow as tf

    with tf.GradientTape() as tape:
        tape.watch(x)
        value = fn(x)
    return value, tape.gradient(value, x)


def _torch(fn, x):
    import torch

    x = x.clone().requires_grad_()
    value = fn(x)
    return value, torch.autograd.grad(value, x)[0]
