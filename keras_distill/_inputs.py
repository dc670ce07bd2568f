"""Whether models can read the same inputs, as far as their graphs say."""

from collections.abc import Iterable, Iterator
from typing import Any

import keras

from keras_distill._keras.inputs import structure

Pair = tuple[str, Any, Any]


def same_inputs(models: Iterable[tuple[str, keras.Model]]) -> None:
    """Refuses models that read the same input in different shapes.

    Entries of a dict belong together by name, others by their place. What only
    one of the models reads may have any shape.

    Args:
        models: Pairs of a name for messages and a model.
    """
    known = [(name, structure(model)) for name, model in _single(models)]
    known = [(name, inputs) for name, inputs in known if inputs is not None]
    for name, inputs in known[1:]:
        for place, a, b in _read_by_both(known[0][1], inputs):
            if not _fit(tuple(a.shape), tuple(b.shape)):
                raise ValueError(
                    f"`{known[0][0]}` and `{name}` must read inputs of the "
                    f"same shape. Received: {known[0][0]} input shape "
                    f"{tuple(a.shape)}, {name} input shape {tuple(b.shape)}"
                    f"{place}. Build both for the same data, or resize in "
                    "one of them. Models that are to read different inputs "
                    "name them: keras.Model({name: keras.Input(...)}, ...), "
                    "with a dict as data."
                )


def _single(models: Iterable) -> Iterator[tuple[str, Any]]:
    """The models, and in the place of an ensemble its members."""
    for name, model in models:
        members = getattr(model, "members", None)
        if members is None:
            yield name, model
            continue
        for i, member in enumerate(members):
            yield f"{name}.members[{i}]", member


def _read_by_both(a: Any, b: Any, place: str = "") -> Iterator[Pair]:
    a, b = _alone(a), _alone(b)
    if isinstance(a, dict) or isinstance(b, dict):
        a, b = _named(a), _named(b)
        for key in sorted(a.keys() & b.keys()):
            yield from _read_by_both(a[key], b[key], f" of {key!r}")
    elif isinstance(a, list | tuple) and isinstance(b, list | tuple):
        if len(a) == len(b):
            for i, pair in enumerate(zip(a, b, strict=True)):
                yield from _read_by_both(*pair, f" of number {i}")
    elif not isinstance(a, list | tuple) and not isinstance(b, list | tuple):
        yield place, a, b


def _alone(inputs: Any) -> Any:
    one = isinstance(inputs, list | tuple) and len(inputs) == 1
    return inputs[0] if one else inputs


def _named(inputs: Any) -> dict:
    if isinstance(inputs, dict):
        return inputs
    return {tensor.name: tensor for tensor in keras.tree.flatten(inputs)}


def _fit(a: tuple, b: tuple) -> bool:
    """Whether there is a shape that both read; Keras adds a last axis of 1."""
    short, long = sorted((a, b), key=len)
    if len(long) == len(short) + 1 and long[-1] == 1:
        long = long[:-1]
    return len(short) == len(long) and all(
        x == y or x is None or y is None
        for x, y in zip(short, long, strict=True)
    )
