"""What is asked of the values in a batch, once, at the first step of a fit.

Teacher and student must be finite and no probabilities, and labels must be
class numbers that there is a unit for. A step counts what is wrong, for each
output of the student; the host raises.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import keras
import numpy as np
from keras import ops

from keras_distill import _data_checks, _kinds
from keras_distill._attached import TopKLogits, distinct
from keras_distill._keras.report import Report
from keras_distill._keras.sample_weights import mask_of, per_position
from keras_distill._objective import _outputs, _void
from keras_distill._objective._terms import Objective, Targets

Tensor = Any

# So many outputs are checked of a student that does not tell how many it has.
_UNKNOWN = 16


class Labels(NamedTuple):
    """Class numbers, and what says that some of them are none."""

    numbers: Tensor
    ignored: int | None
    mask: Any
    weight: Any


class Output(NamedTuple):
    """One output of the student, and what goes with it."""

    name: str
    kind: str | None  # None where nothing is compared with a teacher.
    teacher: Any
    student: Tensor
    labels: Labels | None


class Counts(NamedTuple):
    """Of one output; each a sum over the replicas of a TensorFlow strategy."""

    teacher_values: Any
    teacher_not_finite: Any
    teacher_probabilities: Any
    student_values: Any
    student_not_finite: Any
    student_probabilities: Any
    labels: Any
    labels_below: Any
    labels_above: Any


_COLUMNS = len(Counts._fields)


class FirstStep:
    """Checks the values of a step, where its report is asked for.

    Args:
        student: The model whose outputs are checked.
    """

    def __init__(self, student: keras.Model) -> None:
        known = _outputs.of_model(student)
        self._rows = len(known) if known else _UNKNOWN
        # Of the step that was traced last: name, kind and number of units.
        self._outputs: list[tuple[str, str | None, Any]] = []
        self.report = Report(self._rows * _COLUMNS, self._refuse)

    def check(
        self,
        model: Any,
        objective: Objective,
        targets: Targets,
        outputs: Sequence[_outputs.Output],
        sample_weight: Any,
    ) -> None:
        """Called in a step, before a loss is computed of the values."""
        found = _paired(model.loss, objective, targets, outputs, sample_weight)
        found = found[: self._rows]
        self._outputs = [(o.name, o.kind, o.student.shape[-1:]) for o in found]
        self.report.in_step(model, lambda: self._count(found))

    def _count(self, outputs: Sequence[Output]) -> Tensor:
        zero = ops.zeros((), "float32")
        rows = [_counts(output, zero) for output in outputs]
        rows += [Counts(*[zero] * _COLUMNS)] * (self._rows - len(rows))
        return ops.stack([number for row in rows for number in row])

    def _refuse(self, numbers: np.ndarray) -> None:
        rows = numbers.reshape(-1, _COLUMNS).astype(int).tolist()
        for row, (name, kind, units) in zip(rows, self._outputs, strict=False):
            try:
                _refuse(Counts(*row), kind, *units)
            except ValueError as error:
                if len(self._outputs) == 1:
                    raise
                raise ValueError(f"Output {name!r}: {error}") from None


def _refuse(counts: Counts, kind: str | None, units: Any = None) -> None:
    for name in ("teacher", "student"):
        values, not_finite, probabilities = (
            getattr(counts, f"{name}_{what}")
            for what in ("values", "not_finite", "probabilities")
        )
        _data_checks.all_finite(name, not_finite, values)
        if probabilities:
            raise _data_checks.probabilities(name, kind == _kinds.LABELS)
    _data_checks.labels_in_range(
        counts.labels_below, counts.labels_above, counts.labels, units
    )


# What goes with each output.


def _paired(
    compiled: Any,
    objective: Objective,
    targets: Targets,
    outputs: Sequence[_outputs.Output],
    sample_weight: Any,
) -> list[Output]:
    soft, teacher = _soft(objective, targets, outputs)
    labels = _labels(compiled, soft, targets.labels, outputs, sample_weight)
    return [
        Output(
            _outputs.label_of(i, output),
            soft[i] and _kinds.compares(soft[i]),
            teacher[i],
            output.tensor,
            labels[i],
        )
        for i, output in enumerate(outputs)
    ]


def _soft(
    objective: Objective,
    targets: Targets,
    outputs: Sequence[_outputs.Output],
) -> tuple[list, list]:
    """The distillation loss of each output, and the teacher's output."""
    soft: list = [None] * len(outputs)
    teacher: list = [None] * len(outputs)
    terms = objective.term_of_each(outputs)
    wanted = [i for i, term in enumerate(terms) if term is not None]
    if targets.teacher is None:
        return soft, teacher
    theirs = _outputs.of_teacher(targets.teacher, outputs, wanted)
    for i, output in zip(wanted, theirs, strict=True):
        loss, weight = objective.terms[terms[i]]
        if weight:
            soft[i], teacher[i] = loss, output.tensor
    return soft, teacher


def _labels(
    compiled: Any,
    soft: Sequence,
    labels: Any,
    outputs: Sequence[_outputs.Output],
    sample_weight: Any,
) -> list[Labels | None]:
    """The class numbers of each output, None where labels are none."""
    try:
        labels = _outputs.of_each("labels", labels, outputs)
        compiled = _outputs.of_each("loss", compiled, outputs)
    except ValueError:  # What does not go with the outputs, Keras refuses.
        return [None] * len(outputs)
    weights = _outputs.of_each("sample_weight", sample_weight, outputs)
    found: list[Labels | None] = []
    for i, output in enumerate(outputs):
        numbers = None
        if _void.are_class_numbers(compiled[i], soft[i]):
            numbers = _class_numbers(labels[i], output.tensor)
        if numbers is None:
            found.append(None)
            continue
        ignored = _void.ignore_class(compiled[i])
        weight = per_position(weights[i], output.tensor)
        mask = mask_of(output.tensor)
        found.append(Labels(numbers, ignored, mask, weight))
    return found


def _class_numbers(labels: Any, logits: Tensor) -> Any:
    """Labels of shape `logits.shape[:-1]`; None if they are one-hot."""
    if labels is None or keras.tree.is_nested(labels):
        return None
    rank, classes = len(logits.shape), logits.shape[-1]
    if len(labels.shape) == rank - 1 and classes is not None:
        return labels
    column = len(labels.shape) == rank and labels.shape[-1] == 1
    return ops.squeeze(labels, axis=-1) if column and classes != 1 else None


# What is counted, in the branch of a step that is taken once.

# A softmax of half precision sums to 1 less exactly.
_EXACT, _OF_HALF = 1e-3, 1e-2
# Logits of so many units, or so many logits of a teacher that has learned
# something, do not lie between 0 and 1 by chance.
_UNITS, _VALUES = 20, 32


def _counts(output: Output, zero: Tensor) -> Counts:
    nothing = (zero, zero, zero)
    kind, teacher, labels = output.kind, output.teacher, output.labels
    return Counts(
        *(nothing if teacher is None else _of_logits(teacher, kind, True)),
        *(nothing if kind is None else _of_logits(output.student, kind, False)),
        *(nothing if labels is None else _of_labels(labels, output.student)),
    )


def _of_logits(outputs: Any, kind: str | None, trained: bool) -> tuple:
    """How many values, how many of them not finite, if probabilities."""
    z, counts, dtype = _values(outputs)
    like = ops.zeros((), "bool")
    if kind == _kinds.CLASSES:
        full = keras.backend.standardize_dtype(dtype) == "float32"
        like = _like_softmax(z, counts, _EXACT if full else _OF_HALF)
    if kind == _kinds.LABELS:
        like = _like_sigmoid(z, trained)
    return _count(ops.ones_like(z)), _count(~ops.isfinite(z)), _count(like)


def _values(outputs: Any) -> tuple[Tensor, Any, Any]:
    """In float32, how many units have each value, and the dtype they had."""
    if isinstance(outputs, TopKLogits):
        return *distinct(outputs, "float32"), outputs.logits.dtype
    outputs = ops.convert_to_tensor(outputs)  # Of arrays, on torch.
    return ops.cast(ops.stop_gradient(outputs), "float32"), 1.0, outputs.dtype


def _like_softmax(z: Tensor, counts: Any, tolerance: float) -> Tensor:
    sums = ops.sum(counts * z, axis=-1)
    rows = (ops.min(z, axis=-1) >= 0) & (ops.abs(sums - 1) <= tolerance)
    return ops.all(rows) & (_count(ops.ones_like(rows)) > 0)


def _like_sigmoid(z: Tensor, trained: bool) -> Tensor:
    lowest, highest = ops.min(z), ops.max(z)
    # A head that starts at zero gives 0 throughout.
    inside = (lowest >= 0) & (highest <= 1) & (lowest < highest)
    if z.shape[-1] is not None and z.shape[-1] >= _UNITS:
        return inside
    many = _count(ops.ones_like(z)) >= _VALUES
    return inside & trained & many & (lowest < 0.25) & (highest > 0.75)


def _of_labels(labels: Labels, logits: Tensor) -> tuple:
    """How many labels, how many of them too small, how many too large."""
    numbers = ops.cast(labels.numbers, "float32")
    counted = ops.ones_like(numbers, "bool")
    if labels.ignored is not None:
        counted &= numbers != labels.ignored
    if labels.mask is not None:
        counted &= ops.cast(labels.mask, "bool")
    if labels.weight is not None:
        counted &= labels.weight != 0
    below, inside = numbers < 0, numbers < logits.shape[-1]
    return tuple(
        _count(counted & wrong)
        for wrong in (ops.ones_like(below), below, ~inside)
    )


def _count(values: Tensor) -> Tensor:
    return ops.sum(ops.cast(values, "float32"))
