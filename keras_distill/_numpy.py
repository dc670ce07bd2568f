"""Functions of logits in NumPy, in the dtype that they are given."""

import numpy as np

Array = np.ndarray


def softmax(logits: Array) -> Array:
    """Probabilities over the last axis."""
    p = np.exp(logits - logits.max(axis=-1, keepdims=True))
    p /= p.sum(axis=-1, keepdims=True)
    return p


def logsumexp(logits: Array) -> Array:
    """Log of the sum of exponentials over the last axis."""
    highest = logits.max(axis=-1)
    total = np.exp(logits - highest[..., None]).sum(axis=-1)
    return highest + np.log(total)
