"""Whether what `compile` got fits what the distillation losses compare.

Keras's `compile` takes any loss and any metric for an output. Those of
probabilities are silently wrong beside a distillation loss of logits.
"""

import warnings
from collections.abc import Iterable, Sequence
from typing import Any

import keras

from keras_distill import _kinds
from keras_distill._compiled import _probes, _rules
from keras_distill._compiled._advice import Problem, problem
from keras_distill._compiled._marks import is_marked
from keras_distill._compiled._pairing import (
    LOSS,
    METRIC,
    Item,
    Output,
    flat,
    outputs_of,
    per_output,
)
from keras_distill._keras import trainer

_RULES: dict[tuple[str, str], type[_rules.Rule]] = {
    (_kinds.CLASSES, LOSS): _rules.OfClasses,
    (_kinds.CLASSES, METRIC): _rules.OfClasses,
    (_kinds.LABELS, LOSS): _rules.OfLabels,
    (_kinds.LABELS, METRIC): _rules.OfHits,
}
# What Keras itself has, and is known to be right: it is not tried again.
_RIGHT: set[tuple] = set()


class Checked:
    """Checks a Distiller once for each `compile` and distillation loss."""

    def __init__(self) -> None:
        self._last: list = []

    def check(self, model: Any, losses: Sequence) -> None:
        """Called outside of any step, before what it checks is used.

        Args:
            model: A compiled Distiller.
            losses: The distillation loss of each output, or one for all.
        """
        compiled = trainer.compiled(model)
        now = [*compiled.made, *losses]
        if list(map(id, now)) == list(map(id, self._last)):
            return
        metrics = [compiled.metrics, compiled.weighted_metrics]
        known = getattr(model.student, "outputs", None) or len(losses) > 1
        # The teacher's outputs are of the same shape.
        tells = model.student if known else model.teacher
        check(compiled.loss, metrics, outputs_of(tells, losses))
        self._last = now


def check(loss: Any, metrics: Iterable, outputs: Sequence[Output]) -> None:
    """Refuses what contradicts the distillation losses.

    Args:
        loss: As given to `compile`.
        metrics: What was given to `compile` as metrics, and as weighted ones.
        outputs: Those of the student.

    Raises:
        ValueError: If a loss or metric does not fit the kind of its output.
    """
    here: list[list[Item]] = [[] for _ in outputs]
    for role, given in [(LOSS, loss), *((METRIC, m) for m in metrics)]:
        parts = per_output(given, outputs)
        if parts is None:
            _check_unclear([Item(role, g) for g in flat(given)], outputs)
            continue
        for items, part in zip(here, parts, strict=True):
            items += [Item(role, g) for g in flat(part)]
    for output, items in zip(outputs, here, strict=True):
        for found in _problems(output, items):
            _show(found)


def _check_unclear(items: list[Item], outputs: Sequence[Output]) -> None:
    """Refuses what fits no output, where it is not clear which it is of."""
    per_output = [_problems(output, items) for output in outputs]
    for found in zip(*per_output, strict=True):
        _show(found[0] if all(found) else None)


def _show(found: Problem | None) -> None:
    if found is None:
        return
    if found.refused:
        raise ValueError(found.text)
    warnings.warn(found.text, stacklevel=2)


def _problems(output: Output, items: list[Item]) -> list[Problem | None]:
    """What is wrong with each item beside the distillation loss, if any."""
    shape = _probes.shape_like(output.shape)
    groups: dict[type[_rules.Rule], list[Item]] = {}
    for item in items:
        rule = _RULES.get((output.kind, item.role))
        if rule and not is_marked(item.given):
            groups.setdefault(rule, []).append(item)
    found = {}
    for rule, group in groups.items():
        new = [i for i in group if _key(rule, shape, i) not in _RIGHT]
        verdicts = rule(shape).judge([i.call for i in new]) if new else []
        for item, verdict in zip(new, verdicts, strict=True):
            found[item] = problem(item, output, verdict)
            if found[item] is None and _described(item.given):
                _RIGHT.add(_key(rule, shape, item))
    return [found.get(item) for item in items]


def _key(rule: Any, shape: _probes.Shape, item: Item) -> tuple:
    return rule, shape, item.role, _described(item.given)


def _described(given: Any) -> str | None:
    """What tells a loss or metric of Keras from all others."""
    if isinstance(given, str):
        return given
    kinds = keras.losses.Loss | keras.metrics.Metric
    if not isinstance(given, kinds) or not _is_of_keras(given):
        return None
    config = {**given.get_config(), "name": type(given).__name__}
    return None if "fn" in config else repr(sorted(config.items()))


def _is_of_keras(given: Any) -> bool:
    return type(given).__module__.partition(".")[0] == "keras"
