"""Checks of what a dataset or a batch holds, in the same manner."""

from typing import Any

import keras
import numpy as np

from keras_distill import _kinds


def values(teacher_logits: Any, labels: Any, kind: str) -> None:
    """Refuses, in eager mode, values that no loss can make sense of."""
    for tensor in keras.tree.flatten(teacher_logits):
        logits = keras.ops.convert_to_numpy(tensor).astype("float64")
        if kind == _kinds.CLASSES:
            finite_logits("teacher", logits)
            labels_in_range(labels, logits.shape)
        else:
            finite("teacher", logits)


def finite_logits(name: str, logits: np.ndarray) -> None:
    """Refuses outputs that are not finite, or that are probabilities.

    Args:
        name: What the model is called: "teacher", for example.
        logits: Its outputs, shape `(..., classes)`.
    """
    finite(name, logits)
    if logits.min() >= 0 and np.allclose(logits.sum(axis=-1), 1.0, atol=1e-3):
        raise ValueError(
            f"The {name} outputs probabilities where logits are expected. "
            "Received: non-negative outputs that sum to 1 in each example. "
            f"Pass kd.as_logits({name})."
        )


def finite(name: str, logits: np.ndarray) -> None:
    """Refuses outputs that are not finite."""
    if not np.isfinite(logits).all():
        raise ValueError(
            f"The {name}'s logits are not finite. Received: "
            f"{np.count_nonzero(~np.isfinite(logits))} of {logits.size} "
            f"values are NaN or infinite. Check the {name}'s weights and the "
            "preprocessing of its inputs."
        )


def labels_in_range(labels: Any, shape: Any) -> None:
    """Refuses class numbers that a known output shape has no unit for."""
    known = isinstance(shape, tuple) and shape[-1] is not None
    if labels is None or keras.tree.is_nested(labels) or not known:
        return
    labels, classes = keras.ops.convert_to_numpy(labels), shape[-1]
    one_hot = labels.shape[1:] == shape[1:] and classes > 1
    if one_hot or labels.size == 0:
        return
    # Negative labels stand for padding in losses with `ignore_class`.
    if labels.max() >= classes:
        raise ValueError(
            "Labels must be class numbers below the number of classes. "
            f"Received: a label of {labels.max()} for {classes} output units. "
            "Check the label encoding, or give both models more units."
        )


def not_empty(name: str, data: Any) -> None:
    """Refuses missing data, arrays without rows, a PyDataset of no batch."""
    leaves = keras.tree.flatten(data)
    first = leaves[0] if leaves else None
    rows = getattr(first, "shape", None)
    found = None
    if first is None:
        found = f"{name}=None"
    elif rows and rows[0] == 0:
        found = f"{name}=arrays without rows"
    elif isinstance(data, keras.utils.PyDataset) and data.num_batches == 0:
        found = "an empty PyDataset"
    if found:
        raise ValueError(
            f"`{name}` must hold at least one batch. Received: {found}. "
            "Pass arrays, or a dataset that yields batches."
        )


def labels_given_once(y: Any, arguments: dict) -> None:
    """Refuses labels or weights beside those in a tuple of arrays."""
    weights = arguments.get("sample_weight")
    if y is not None or weights is not None:
        raise ValueError(
            "The attached arrays hold the labels and weights already. "
            f"Received: {'y' if y is not None else 'sample_weight'} in "
            "addition. Pass them to attach: fit(cache.attach((x, y)))."
        )


def one_source_of_logits(teacher: Any, attached: Any) -> None:
    """Refuses a training batch with no teacher logits, or with two sorts."""
    if teacher is None and attached is None:
        raise ValueError(
            "This Distiller has no teacher. Received: distiller.teacher is "
            "None, as after loading, and data without teacher logits. Set "
            "distiller.teacher = teacher before training, or train on what "
            "kd.TeacherCache.attach returns."
        )
    if teacher is not None and attached is not None:
        raise ValueError(
            "There are two sorts of teacher logits. Received: a Distiller with "
            "a teacher, and data with teacher logits attached. Set "
            "distiller.teacher = None to train on the attached ones, or pass "
            "the data without them."
        )


def labels_used(labels: Any, loss: Any, hard_loss_weight: float) -> None:
    """Refuses labels without a compiled loss, and a loss without labels."""
    if labels is None and loss is not None:
        raise ValueError(
            "There are no labels for the compiled loss. Received: "
            f"loss={loss!r}, hard_loss_weight={hard_loss_weight}"
            ", and data without labels. Pass labels, compile(loss=None), "
            "or set hard_loss_weight=0 to use the loss in validation only."
        )
    if labels is not None and loss is None:
        raise ValueError(
            "The labels would be ignored. Received: labels, compile("
            f"loss=None), and hard_loss_weight={hard_loss_weight}. "
            "Compile with a loss, leave the labels out, or set "
            "hard_loss_weight=0 if they are for the metrics only."
        )


def something_to_evaluate(labels: Any, loss: Any, metrics: Any) -> None:
    """Refuses an evaluation without labels, or without a use for them."""
    if labels is None or (loss is None and not metrics):
        raise ValueError(
            "There is nothing to evaluate. Received: "
            f"{'no labels' if labels is None else 'labels'}, loss="
            f"{loss!r}. Evaluation and validation need labels, and a "
            "loss or metrics in compile(); kd.evaluate_fidelity compares "
            "a student with its teacher without labels."
        )
