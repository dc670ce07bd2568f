"""Which of the losses and metrics that `compile` got are of which output."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import keras

from keras_distill import _kinds
from keras_distill._compiled import _probes

LOSS, METRIC = "loss", "metrics"


class Output(NamedTuple):
    """An output of a student.

    Attributes:
        names: Those under which `compile` may have something for it.
        shape: As far as it is known, or None.
        loss: Its distillation loss, or None.
    """

    names: tuple[str, ...]
    shape: tuple | None
    loss: Any

    @property
    def kind(self) -> str:
        return _kinds.compares(self.loss)


class Item:
    """A loss or metric, as `compile` got it, and how it is called."""

    def __init__(self, role: str, given: Any) -> None:
        self.role = role
        self.given = given

    @property
    def call(self) -> Callable:
        if self.role == LOSS:
            return _probes.call_of_loss(self.given)
        return _probes.call_of_metric(self.given)


def outputs_of(model: Any, losses: Sequence) -> list[Output]:
    """A model's outputs, as far as they are known.

    Args:
        model: A student, or a teacher with the same outputs, or None.
        losses: The distillation loss of each output, or one for all.
    """
    tensors = getattr(model, "outputs", None) or [None] * len(losses)
    if len(losses) == 1:
        losses = [*losses] * len(tensors)
    names = _names(model, len(tensors))
    shapes = [None if t is None else tuple(t.shape) for t in tensors]
    found = zip(names, shapes, losses, strict=True)
    return [Output(*parts) for parts in found]


def _names(model: Any, count: int) -> list[tuple[str, ...]]:
    """Of the layers, and the keys of a dict, in the order of `outputs`."""
    if count == 1:
        return [()]
    named = [getattr(model, "output_names", None), None]
    if isinstance(getattr(model, "output", None), dict):
        named[1] = sorted(model.output)
    known = [n for n in named if n is not None and len(n) == count]
    return [tuple(n[i] for n in known) for i in range(count)]


def per_output(given: Any, outputs: Sequence[Output]) -> list[list] | None:
    """What `compile` got for each output, None where that is not clear."""
    if len(outputs) == 1:
        return [flat(given)]
    if not keras.tree.is_nested(given):
        return [flat(given)] * len(outputs)
    if isinstance(given, dict):
        parts = [[given[n] for n in {*o.names} & {*given}] for o in outputs]
        return parts if sum(map(len, parts)) == len(given) else None
    return list(given) if len(given) == len(outputs) else None


def flat(given: Any) -> list:
    return [item for item in keras.tree.flatten(given) if item is not None]
