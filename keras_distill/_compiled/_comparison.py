"""Whether a distillation loss is smallest where the student is the teacher.

Only what says nothing in an attribute `compares` is asked; a loss that does is
taken at its word.
"""

import warnings
from collections.abc import Sequence
from typing import Any

from keras_distill import _schedules
from keras_distill._compiled import _probes
from keras_distill._compiled._pairing import outputs_of
from keras_distill._compiled._rules import OfValues
from keras_distill._keras import graph
from keras_distill._keras.numbers import having


def require_comparison(student: Any, losses: Sequence) -> None:
    """Refuses what does not compare the outputs of two models.

    Args:
        student: The model whose outputs are compared with the teacher's.
        losses: The distillation loss of each output, or one for all.

    Raises:
        ValueError: If a loss is smaller for outputs other than the teacher's.
    """
    outputs = outputs_of(student, losses)
    ends = graph.activations(student) or [None] * len(outputs)
    tried = {
        (id(output.loss), output.shape, end): (output.loss, output.shape, end)
        for output, end in zip(outputs, ends, strict=True)
        if output.loss is not None and not _has_said(output.loss)
    }
    for loss, shape, end in tried.values():
        _check(loss, shape, end)


def require_feature_comparison(loss: Any, shape: tuple) -> None:
    """Refuses what does not compare two features of a shape."""
    if _has_said(loss):
        return
    rule = OfValues(_probes.shape_like(shape), None)
    call = _probes.call_of_loss(_at_first(loss))
    if rule.judge([call])[0] is False:
        raise ValueError(
            "The loss of a feature must be smallest where the student's is the "
            f"teacher's. Received: loss={type(loss).__name__}(), which is not "
            "for features of any value. Pass 'mse' or kd.losses."
            "CosineDistance(). A loss of your own says that it is right with "
            '`compares = "values"` in its class.'
        )


def _has_said(loss: Any) -> bool:
    says = hasattr(loss, "compares") or getattr(loss, "uses_labels", False)
    return bool(says)


def _check(loss: Any, shape: Any, end: str | None) -> None:
    rule = OfValues(_probes.shape_like(shape), end)
    verdict = rule.judge([_probes.call_of_loss(_at_first(loss))])[0]
    if verdict is False:
        raise ValueError(
            "`distillation_loss` must be smallest where the student's outputs "
            f"are the teacher's. Received: distillation_loss="
            f"{type(loss).__name__}(), which is not for outputs "
            f"{_ending[end]}. Pass kd.losses.SoftTargets(temperature) for "
            "logits, keras.losses.MeanSquaredError() for values. A loss of "
            'your own says that it is right with `compares = "values"` in its '
            "class."
        )
    if verdict is not True:
        warnings.warn(
            "`distillation_loss` could not be tried out. Received: "
            f"distillation_loss={type(loss).__name__}(); {verdict}. Make sure "
            "that it is smallest where the student's outputs are the "
            'teacher\'s, and say so with `compares = "values"` in its class.',
            stacklevel=2,
        )


def _at_first(loss: Any) -> Any:
    """The loss with what is scheduled at its value before any update."""
    found = {n: getattr(loss, n) for n in getattr(loss, "numbers", ())}
    scheduled = {n: v for n, v in found.items() if _schedules.is_schedule(v)}
    return having(loss, {n: v(0) for n, v in scheduled.items()})


_ending = {
    None: "of any value",
    "softmax": "of a softmax",
    "sigmoid": "of a sigmoid",
}
