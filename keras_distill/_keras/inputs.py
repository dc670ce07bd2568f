"""What a model reads of the inputs that it gets."""

from typing import Any

import keras


def structure(model: Any) -> Any:
    """Symbolic inputs, as the model was made of them; None if not known."""
    tensors = getattr(model, "inputs", None)
    if not tensors:
        return None
    return tensors[0] if isinstance(model, keras.Sequential) else model.input


def own_entries(model: Any, x: Any) -> Any:
    """Those of a dict of inputs that have the names of a model's inputs.

    Keras finds the entries of a list of inputs by name, but those of a dict by
    their place among all entries, and warns.
    """
    known = structure(model)
    if not isinstance(x, dict) or known is None:
        return x
    if isinstance(known, dict):
        return {key: x[key] for key in known} if {*known} < {*x} else x
    is_one = keras.backend.is_keras_tensor(known)
    return x[known.name] if is_one and known.name in x else x
