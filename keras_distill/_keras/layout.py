"""On which devices a batch lies that no training loop of Keras has laid out."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np

Tensor = Any


def run(step: Callable, values: list, x: Any) -> Any:
    """A step on JAX for one batch, of which each device computes its share.

    Where several processes each have all values, each computes by itself, on
    data of its own. Where they share them, all must come with the same batch.

    Args:
        step: A compiled function of values and inputs; the rows of what it
            gives are those of the inputs, each computed by itself.
        values: Of a model's variables.
        x: The inputs of a batch, in any structure.
    """
    import jax

    distribution = keras.distribution.distribution()
    if distribution is None:
        return step(values, x)
    if jax.process_count() > 1:
        return step(_own(values), x)
    rows = len(keras.tree.flatten(x)[0])
    outputs = step(values, keras.tree.map_structure(_laid_out, x))
    return keras.tree.map_structure(lambda found: found[:rows], outputs)


def _own(values: list) -> list:
    """The values as this process has them, if it has them all."""
    if not all(v.is_fully_replicated or v.is_fully_addressable for v in values):
        return values
    return [v.addressable_data(0) for v in values]


def _laid_out(inputs: Any) -> Any:
    """Rows over all devices; the last one again where these do not divide."""
    import jax

    distribution: Any = keras.distribution.distribution()
    mesh = distribution.device_mesh
    shape = dict(zip(mesh.axis_names, mesh.shape, strict=True))
    missing = -len(inputs) % shape[distribution.batch_dim_name]
    if missing and len(inputs):
        inputs = np.asarray(inputs)
        inputs = np.concatenate([inputs, *[inputs[-1:]] * missing])
    layout = distribution.get_data_layout(inputs.shape)
    return jax.device_put(inputs, layout.backend_layout)
