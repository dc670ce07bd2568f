"""How closely a student follows a teacher, on data that are read again."""

from collections.abc import Callable, Collection
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_distill import _kinds, _measures
from keras_distill._keras.compiled import compiled
from keras_distill._keras.frozen import FrozenModel
from keras_distill._watched import Watched

Tensor = Any
Forward = Callable[[Any, Any], tuple[Tensor, Tensor]]
_BINS = 15


def forward(student: keras.Model) -> Forward:
    """A student's logits, and what each of them weighs, by a mask of its own.

    It takes inputs and sample weights, and is compiled once.
    """
    frozen = FrozenModel(student)

    def step(values: list, x: Any, sample_weight: Any) -> tuple:
        logits = frozen(x, values)
        return logits, _measures.weight_of(logits, sample_weight)

    run = compiled(step, student.jit_compile)
    return lambda x, sample_weight: run(frozen.values(), x, sample_weight)


class Comparison:
    """Sums of measures over a batch, by a function that is compiled once.

    Args:
        names: Which of the measures of `evaluate_fidelity`.
        kind: What the logits are of.
        ignore_class: The label that stands for none.
    """

    def __init__(
        self, names: Collection[str], kind: str, ignore_class: int | None
    ) -> None:
        self._names, self._of_labels = names, kind == _kinds.LABELS
        self._ignore_class = _measures.checked_ignore_class(ignore_class)
        self.sums = compiled(self._sums)

    def _sums(self, v: Tensor, z: Tensor, y: Any, weight: Tensor) -> dict:
        """Of each measure a pair, the sum and the sum of the weights."""
        how = self._of_labels, self._ignore_class
        values, no_classes = _measures.compared(v, z, y, weight, *how)
        found = {"no classes": (no_classes, ops.ones(()))}
        for name in [name for name in self._names if name in values]:
            each, weight = values[name]
            total = _gaps if name.endswith("_ece") else _total
            found[name] = total(each, weight), ops.sum(weight)
        return found

    def require_classes(self, wrong: float) -> None:
        how = self._of_labels, self._ignore_class
        _measures.require_classes(int(wrong), *how)


def _total(values: Tensor, weight: Tensor) -> Tensor:
    return ops.sum(ops.cast(values, weight.dtype) * weight)


def _gaps(values: Tensor, weight: Tensor) -> Tensor:
    correct, confidence = (ops.reshape(values[..., i], (-1,)) for i in range(2))
    weight = ops.reshape(weight, (-1,))
    return _measures.binned_gaps(correct, confidence, weight, _BINS)


def followed(
    watched: Watched, student: Forward, comparison: Comparison
) -> dict[str, float]:
    """The mean of each measure, of those that the data have."""
    sums: dict[str, Any] = {}
    for batch in watched:
        logits, weight = student(batch.x, batch.weight)
        args = batch.teacher_logits, logits, batch.y, weight
        for name, pair in comparison.sums(*args).items():
            pair = [_float64(part) for part in pair]
            before = sums.get(name, (0.0, 0.0))
            sums[name] = [a + b for a, b in zip(before, pair, strict=True)]
    comparison.require_classes(sums.pop("no classes")[0])
    return {
        # Of calibration the distance in each bin, of others a sum.
        name: float(np.sum(np.abs(total)) / weight)
        for name, (total, weight) in sums.items()
        if weight
    }


def _float64(value: Tensor) -> Any:
    return np.asarray(ops.convert_to_numpy(value), "float64")
