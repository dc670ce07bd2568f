"""Measures of two models' logits, alone and together, and of labels."""

from typing import Any, NamedTuple

import keras
from keras import ops

from keras_distill import _validation, losses, transforms
from keras_distill._keras.sample_weights import per_position

Tensor = Any
# What no `ignore_class` is, for several labels or none in a one-hot row.
_NO_CLASS = -(2**31)


class Compared(NamedTuple):
    """What was found of a batch.

    Attributes:
        values: Names, and for each the values of all positions and their
            weights. Those of calibration have two values for each.
        no_classes: How many labels are neither a class nor void.
    """

    values: dict[str, tuple[Tensor, Tensor]]
    no_classes: Tensor


def compared(
    teacher: Tensor,
    student: Tensor,
    y: Any,
    weight: Tensor,
    of_labels: bool,
    ignore_class: int | None,
) -> Compared:
    """Compares two models' logits with each other, and with labels.

    Args:
        teacher: Its logits, shape `(..., classes)`.
        student: Its logits, same shape.
        y: None, or labels as `evaluate_fidelity` takes them.
        weight: Shape `(...)`.
        of_labels: Whether the logits are of labels that do not exclude each
            other.
        ignore_class: The label that stands for none.
    """
    teacher, student = map(transforms.at_least_float32, (teacher, student))
    _validation.same_shape(teacher.shape, student.shape)
    if of_labels:
        y = None if y is None else off_or_on(y, student)
        weight = weight[..., None] * ops.ones_like(student)
        teacher, student = map(off_and_on, (teacher, student))
    found = {k: (v, weight) for k, v in relative(teacher, student).items()}
    if y is None:
        return Compared(found, ops.zeros(()))
    labels, known, no_classes = _known(y, student, weight, ignore_class)
    for name, logits in (("teacher", teacher), ("student", student)):
        values = absolute(name, logits, labels)
        found |= {k: (v, known) for k, v in values.items()}
    return Compared(found, no_classes)


def _known(
    y: Tensor, logits: Tensor, weight: Tensor, ignore_class: int | None
) -> tuple:
    """Class numbers, the weights of those that there are, and wrong labels."""
    labels = class_numbers(y, logits)
    known = (labels >= 0) & (labels < ops.shape(logits)[-1])
    void = ops.zeros_like(known)
    if ignore_class is not None:
        void = labels == ignore_class
    wrong = ops.cast(~(known | void), weight.dtype)
    wrong = ops.sum(wrong * ops.cast(weight > 0, wrong.dtype))
    labels = ops.where(known, labels, 0)
    return labels, weight * ops.cast(known & ~void, weight.dtype), wrong


def require_classes(
    wrong: int, of_labels: bool, ignore_class: int | None
) -> None:
    """Refuses labels that no step could refuse."""
    if not wrong:
        return
    needed = (
        "class numbers from 0, below the number of output units, or one-hot "
        "(kind='labels' is for more than one in a row)"
    )
    if of_labels:
        needed = "0 or 1 for each output unit"
    raise ValueError(
        f"Labels must be {needed}. Received: {wrong} labels that are not, and "
        f"ignore_class={ignore_class}. Check the label encoding, or pass the "
        "label that stands for none as `ignore_class`."
    )


def checked_ignore_class(ignore_class: Any) -> int | None:
    if ignore_class is None or _validation.is_whole(ignore_class):
        return ignore_class
    raise ValueError(
        "`ignore_class` must be None or a whole number. Received: "
        f"ignore_class={ignore_class!r}. Pass the label that stands for none, "
        "for example -1."
    )


class _Weight(keras.losses.Loss):
    """What a Keras loss multiplies each position by: weights and masks."""

    def call(self, teacher: Tensor, student: Tensor) -> Tensor:
        return ops.ones(ops.shape(student)[:-1])


def weight_of(logits: Tensor, sample_weight: Any) -> Tensor:
    """Sample weights times the mask of the logits, shape `(...)`."""
    sample_weight = per_position(sample_weight, logits)
    loss = _Weight(reduction=None, name="weight")
    return loss(ops.stop_gradient(logits), logits, sample_weight)


def relative(teacher: Tensor, student: Tensor) -> dict[str, Any]:
    best = ops.argmax(teacher, axis=-1)
    return {
        "agreement_at_1": best == ops.argmax(student, axis=-1),
        "agreement_at_5": _in_top_k(best, student, 5),
        "kl_divergence": losses.ttm(teacher, student, temperature=1.0),
    }


def _in_top_k(labels: Tensor, logits: Tensor, k: int) -> Tensor:
    chosen = ops.take_along_axis(logits, labels[..., None], axis=-1)
    # Not `logits > chosen`, which a NaN would pass.
    not_higher = ops.cast(logits <= chosen, "int32")
    return ops.shape(logits)[-1] - ops.sum(not_higher, axis=-1) < k


def absolute(name: str, logits: Tensor, labels: Tensor) -> dict[str, Any]:
    log_p = transforms.log_probabilities(logits)
    chosen = ops.take_along_axis(log_p, labels[..., None], axis=-1)[..., 0]
    correct = labels == ops.cast(ops.argmax(logits, axis=-1), "int32")
    confidence = ops.exp(ops.max(log_p, axis=-1))
    return {
        f"{name}_accuracy": correct,
        f"{name}_nll": -chosen,
        f"{name}_ece": ops.stack(
            [ops.cast(correct, "float32"), confidence], axis=-1
        ),
    }


def class_numbers(labels: Tensor, logits: Tensor) -> Tensor:
    """As `_data.class_numbers`, of tensors, whose values no step can refuse.

    A row in the shape of the logits that does not sum to 1 is no class.
    """
    shape = tuple(logits.shape)
    if tuple(labels.shape) == shape and shape[-1] != 1:
        total = ops.sum(ops.cast(labels, "float32"), axis=-1)
        one = ops.abs(total - 1) < 1e-2
        labels = ops.where(one, ops.argmax(labels, axis=-1), _NO_CLASS)
    elif len(labels.shape) == len(shape):
        labels = ops.squeeze(labels, axis=-1)
    return ops.cast(labels, "int32")


# Labels that do not exclude each other: of each one, two classes that do.


def off_and_on(logits: Tensor) -> Tensor:
    """The two classes' logits, 0 and `z`, whose softmax has `sigmoid(z)`."""
    return ops.stack([ops.zeros_like(logits), logits], axis=-1)


def off_or_on(labels: Tensor, logits: Tensor) -> Tensor:
    """The class of each label, 2 for what is no whole number."""
    labels, shape = ops.convert_to_tensor(labels), tuple(logits.shape)
    if shape[-1] == 1 and len(labels.shape) == len(shape) - 1:
        labels = labels[..., None]
    if tuple(labels.shape) != shape:
        raise ValueError(
            "There must be a label for each output unit. Received: labels of "
            f"shape {tuple(labels.shape)} for outputs of shape {shape}. Pass 0 "
            "or 1 for each unit."
        )
    numbers = ops.cast(labels, "float32")
    whole = numbers == ops.floor(numbers)
    return ops.cast(ops.where(whole, numbers, 2.0), "int32")


def binned_gaps(
    correct: Tensor, confidence: Tensor, weight: Tensor, bins: int
) -> Tensor:
    """`accuracy - confidence`, summed over each of the bins of equal width."""
    # Bins are open below and closed above, as in the paper.
    index = ops.cast(ops.ceil(confidence * bins), "int32") - 1
    in_bin = ops.one_hot(ops.clip(index, 0, bins - 1), bins)
    return ops.matmul(weight * (correct - confidence), in_bin)


class CalibrationError(keras.metrics.Metric):
    """Expected calibration error with bins of equal width.

    Formula: `sum_b n_b/n |accuracy_b - confidence_b|`, Guo et al. 2017.

    Args:
        bins: Number of bins of equal width between 0 and 1.
        name: Name of the metric.
        dtype: Dtype of the sums.
    """

    def __init__(
        self, bins: int = 15, name: str = "ece", dtype: Any = None
    ) -> None:
        super().__init__(name=name, dtype=dtype)
        self.bins = bins
        self.gap = self._zeros("gap", (bins,))
        self.total = self._zeros("total", ())

    def _zeros(self, name: str, shape: tuple) -> Any:
        return self.add_variable(shape, initializer="zeros", name=name)

    def update_state(self, values: Any, sample_weight: Any = None) -> None:
        """Adds pairs of correctness and confidence, shape `(..., 2)`."""
        correct = ops.reshape(values[..., 0], (-1,))
        confidence = ops.reshape(values[..., 1], (-1,))
        weight = ops.ones_like(correct)
        if sample_weight is not None:
            weight = ops.reshape(sample_weight, (-1,))
        gaps = binned_gaps(correct, confidence, weight, self.bins)
        self.gap.assign_add(gaps)
        self.total.assign_add(ops.sum(weight))

    def result(self) -> Tensor:
        gap = ops.sum(ops.absolute(self.gap.value))
        return ops.divide_no_nan(gap, self.total.value)
