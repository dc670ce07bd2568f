"""Checks of what a dataset or a batch holds, in the same manner."""

from typing import Any

import keras
import numpy as np


def finite_logits(name: str, logits: np.ndarray) -> None:
    """Refuses outputs that are not finite, or that are probabilities.

    Args:
        name: What the model is called: "teacher", for example.
        logits: Its outputs, shape `(..., classes)`.
    """
    all_finite(name, int((~np.isfinite(logits)).sum()), logits.size)
    if logits.min() >= 0 and np.allclose(logits.sum(axis=-1), 1.0, atol=1e-3):
        raise probabilities(name)


def all_finite(name: str, wrong: int, size: int) -> None:
    """Refuses outputs some of which are not finite."""
    if wrong:
        raise ValueError(
            f"The {name}'s logits are not finite. Received: {wrong} of {size} "
            f"values are NaN or infinite. Check the {name}'s weights and the "
            "preprocessing of its inputs."
        )


def probabilities(name: str, of_labels: bool = False) -> ValueError:
    """What refuses the outputs of a softmax, or of a sigmoid of labels."""
    received = "non-negative outputs that sum to 1 in each example"
    fix = f"Pass kd.as_logits({name})."
    if of_labels:
        received = "outputs that all lie between 0 and 1"
        fix = f"Pass the {name} without its sigmoid."
    return ValueError(
        f"The {name} outputs probabilities where logits are expected. "
        f"Received: {received}. {fix}"
    )


def labels_in_range(below: int, above: int, size: int, classes: int) -> None:
    """Refuses class numbers that no output unit stands for.

    Args:
        below: How many are below 0.
        above: How many are too large.
        size: How many there are.
        classes: The number of output units.
    """
    if below or above:
        raise ValueError(
            f"Labels must be class numbers from 0 to {classes - 1}, one for "
            f"each of the {classes} output units. Received: {below} labels "
            f"below 0 and {above} above {classes - 1}, of {size}. Check the "
            "label encoding, give both models more units, or name the label "
            "that stands for none as the compiled loss's `ignore_class`, in a "
            "loss function of your own as the default of that argument."
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


def weights_used(y: Any, arguments: dict) -> None:
    """Refuses weights of arrays without labels, which Keras drops."""
    if y is None and arguments.get("sample_weight") is not None:
        raise ValueError(
            "`sample_weight` would be ignored: Keras drops it where there "
            "are no labels. Received: sample_weight without y. Pass x as a "
            "dataset or generator of (x, None, sample_weight)."
        )


def teacher_of_features(teacher: Any) -> None:
    """Refuses features of a teacher that is not there."""
    if teacher is None:
        raise ValueError(
            "Features are what layers of a teacher give in a step; logits that "
            "were stored have none. Received: distiller.teacher is None, and "
            "feature_losses of a weight above 0. Set distiller.teacher = "
            "teacher and pass the data without logits, or set the weight of "
            "each of distiller.feature_losses to 0."
        )


_NO_TEACHER = "This Distiller has no teacher."
_TWO_SOURCES = "There are two sorts of teacher logits."


def is_of_source(error: Exception) -> bool:
    """Whether an error is one of `one_source_of_logits`.

    By its text: TensorFlow makes errors in its functions anew, those of a class
    of one's own as errors of another class.
    """
    return any(text in str(error) for text in (_NO_TEACHER, _TWO_SOURCES))


def one_source_of_logits(teacher: Any, attached: Any) -> None:
    """Refuses a training batch with no teacher logits, or with two sorts."""
    if teacher is None and attached is None:
        raise ValueError(
            f"{_NO_TEACHER} Received: distiller.teacher is "
            "None, as after loading, and data without teacher logits. Set "
            "distiller.teacher = teacher before training, or train on what "
            "kd.TeacherCache.attach returns."
        )
    if teacher is not None and attached is not None:
        raise ValueError(
            f"{_TWO_SOURCES} Received: a Distiller with "
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
