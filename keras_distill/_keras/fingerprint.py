"""Tells one trained teacher from another, across processes and backends."""

import hashlib
import json
import operator
import re
import weakref
from typing import Any, NamedTuple

import keras

from keras_distill._keras import digests
from keras_distill._keras.layers import all_layers

_VERSION = "2"  # At each change of what follows, files of before are refused.
_NOT_THE_TEACHER = ("name", "dtype", "seed")


class _Known(NamedTuple):
    layers: str
    values: list[weakref.ref]
    digest: str


_KNOWN: weakref.WeakKeyDictionary = weakref.WeakKeyDictionary()


def fingerprint(model: keras.Model) -> str:
    """A digest of a model's weights and of the layers that use them.

    The digest covers, in the model's order, the class of each layer, the
    numbers and strings in its config (units, strides, activation, scale and so
    on), and the shape, dtype and bits of each weight. It leaves out what may
    differ for one and the same teacher: names, seeds, `trainable` and other
    flags, and on which devices its weights lie.

    Where they are spread over the processes of JAX, each adds up its own, and
    all must call this.

    Args:
        model: A built Keras model.

    Returns:
        A version, and 64 hexadecimal digits.

    Raises:
        ValueError: If the model is not built and so has no weights yet.
    """
    if not model.built:
        raise ValueError(
            "A teacher must be built before it can be recognised by its "
            f"weights. Received: unbuilt model {model.name!r}. Call it once on "
            "a batch, or load its weights."
        )
    layers = json.dumps([_layer(layer) for layer in all_layers(model)])
    if keras.backend.backend() != "jax":
        return _digest(layers, model)
    # A checkpoint at each epoch need not read the weights anew: those of JAX
    # do not change, but give way to other arrays.
    values = [variable.value for variable in model.weights]
    known = _KNOWN.get(model)
    if known is None or not _same(known, layers, values):
        digest = _digest(layers, model)
        known = _Known(layers, [weakref.ref(v) for v in values], digest)
        _KNOWN[model] = known
    return known.digest


def _same(known: _Known, layers: str, values: list) -> bool:
    before = [value() for value in known.values]
    same_count = known.layers == layers and len(before) == len(values)
    return same_count and all(map(operator.is_, before, values))


def _digest(layers: str, model: keras.Model) -> str:
    sums = digests.sums([variable.value for variable in model.weights])
    weights = [
        [list(variable.shape), str(variable.dtype), *map(int, found)]
        for variable, found in zip(model.weights, sums, strict=True)
    ]
    digest = hashlib.sha256(f"{layers}\n{json.dumps(weights)}".encode())
    return f"{_VERSION}-{digest.hexdigest()}"


def shown(found: str) -> str:
    """A fingerprint as errors show it; that of a function is the user's."""
    match = re.fullmatch(r"(\d+-)?[0-9a-f]{64}", found)
    if match is None:
        return repr(found)
    short = f"{found[: match.end(1) + 12 if match[1] else 12]}..."
    now = match[1] == f"{_VERSION}-"
    return short if now else f"{short} of another version of keras_distill"


def _layer(layer: keras.layers.Layer) -> list[Any]:
    try:
        config = layer.get_config()
    except NotImplementedError:  # A subclassed model without a config.
        config = {}
    settings = {
        key: value
        for key, value in config.items()
        if key not in _NOT_THE_TEACHER and _is_plain(value)
    }
    return [type(layer).__name__, sorted(settings.items())]


def _is_plain(value: Any) -> bool:
    # Lists of anything but numbers may hold names of layers.
    if isinstance(value, list | tuple):
        return all(map(_is_number, value))
    return isinstance(value, str) or _is_number(value)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
