"""How closely a student follows a teacher, on data that are read again."""

from collections.abc import Collection, Iterable
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_distill import _kinds, _measures
from keras_distill._keras.compiled import compiled, compiled_as
from keras_distill._keras.frozen import FrozenModel
from keras_distill._watched import Batch, student_of

Tensor = Any
_BINS = 15


class Forward:
    """A student's logits, and what each of them weighs, by a mask of its own.

    It takes inputs and sample weights, and is compiled once.

    Args:
        model: Whose `fit` it is, a Distiller or the student by itself.
    """

    def __init__(self, model: keras.Model) -> None:
        self._frozen = frozen = FrozenModel(student_of(model))
        self._made_for = self._way(model)

        def step(values: list, x: Any, sample_weight: Any) -> tuple:
            logits = frozen(x, values)
            return logits, _measures.weight_of(logits, sample_weight)

        self._run = compiled_as(step, model)

    def _way(self, model: keras.Model) -> tuple:
        how = model.jit_compile, model.run_eagerly
        return student_of(model), self._frozen.key, *how

    def is_of(self, model: keras.Model) -> bool:
        """Whether nothing has changed, such as a layer's variables by LoRA."""
        self._frozen.look_again()
        return self._made_for == self._way(model)

    def __call__(self, x: Any, sample_weight: Any) -> tuple[Tensor, Tensor]:
        return self._run(self._frozen.values(), x, sample_weight)


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
    batches: Iterable[Batch], student: Forward, comparison: Comparison
) -> dict[str, float]:
    """The mean of each measure, of those that the data have."""
    sums: dict[str, Any] = {"no classes": (0.0, 0.0)}
    for batch in batches:
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
