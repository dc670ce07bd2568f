"""What decides a specialist besides settings: data and generalist, in short."""

import hashlib
import json
from typing import Any

import keras
import numpy as np

from keras_distill import _checksums, _data
from keras_distill._keras.fingerprint import fingerprint
from keras_distill._keras.layers import all_layers, sublayers


def digest_of_data(dataset: Any) -> str | None:
    """Tells one set of arrays from another; None for what is not arrays."""
    if not isinstance(dataset, tuple):
        return None
    x, *rest = dataset
    digest = hashlib.sha256()
    for part, _, _ in _data.batches((x,), 4096):
        digest.update(_checksums.checks(part).tobytes())
    for labels in rest:
        if labels is not None:
            array = np.ascontiguousarray(_checksums.arrays(labels))
            digest.update(array.tobytes())
    return digest.hexdigest()


def digest_of_generalist(generalist: keras.Model) -> str:
    """Tells generalists apart, also by what is trained of them, and how."""
    layers = [
        [layer.trainable, layer.dtype_policy.name]
        for layer in all_layers(generalist)
        # Keras does not save the flags of models and of inputs.
        if layer.weights and not sublayers(layer)
    ]
    text = fingerprint(generalist) + json.dumps(layers)
    return hashlib.sha256(text.encode()).hexdigest()
