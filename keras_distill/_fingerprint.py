"""Tells one trained teacher from another, across processes and backends."""

import hashlib
import json
from typing import Any

import keras


def fingerprint(model: keras.Model) -> str:
    """SHA-256 of a model's weights and of the layers that use them.

    The digest covers the class and the activation of each layer, and the shape,
    dtype and bytes of each weight, in the model's order. It leaves out what may
    differ for one and the same teacher: names, `trainable` flags, random seeds,
    and anything that a later version of Keras may add to a layer's config.

    Args:
        model: A built Keras model.

    Returns:
        64 hexadecimal digits.

    Raises:
        ValueError: If the model is not built and so has no weights yet.
    """
    if not model.built:
        raise ValueError(
            "A teacher must be built before it can be recognised by its "
            f"weights. Received: unbuilt model {model.name!r}. Call it once on "
            "a batch, or load its weights."
        )
    layers = [_layer(layer) for layer in model._flatten_layers()]
    digest = hashlib.sha256(json.dumps(layers).encode())
    for variable in model.weights:
        array = keras.ops.convert_to_numpy(variable.value)
        header = [list(array.shape), str(variable.dtype)]
        digest.update(json.dumps(header).encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def _layer(layer: keras.layers.Layer) -> list[Any]:
    activation = getattr(layer, "activation", None)
    return [
        type(layer).__name__,
        getattr(activation, "__name__", None),
        getattr(layer, "fingerprint_config", None),
    ]
