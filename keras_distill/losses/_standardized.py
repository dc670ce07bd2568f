"""Logits standardised before they are compared."""

from typing import Any

import keras
from keras import ops

from keras_distill import _kinds, transforms
from keras_distill._registration import register
from keras_distill.losses._logits import mean, pair, root
from keras_distill.losses._wrapping import (
    MadeOfLosses,
    Place,
    called,
    inner_loss,
    loaded,
)

Tensor = Any
_EPSILON = 1e-7  # Beside a standard deviation, as the authors have it.


@register
class Standardized(MadeOfLosses):
    """Another loss, on logits of mean 0 and standard deviation 1.

    Formula: `loss(s(v), s(z))` with `s(x) = (x - mean x) / (sd x + 1e-7)` over
    the classes, Sun et al. 2024 (arXiv 2403.01427), section 4. What is compared
    is how the classes relate to each other. How far apart its logits are is up
    to the student, which may be too small to be as sure as the teacher. The
    paper has it around `SoftTargets(2.0)` with weights 0.1 and 9.

    Its numbers are those of the other loss, under the same names.

    Args:
        loss: A loss of `kd.losses`, or of one's own, that compares classes and
            has one value for each example: `kd.losses.SoftTargets(2.0)`.
        reduction: As in `keras.losses.Loss`.
        name: Name of the loss.
        dtype: Dtype of the computation, float32 unless said otherwise.

    Call arguments:
        - teacher_logits, student_logits: Unnormalised logits, shape
          `(..., classes)`, of at least 2 classes; a pair `(teacher_logits,
          labels)` first where the other loss uses labels.
        - sample_weight: Optional weights that broadcast to `(...)`.

    Returns:
        The mean over examples, or what `reduction` asks for.

    Raises:
        TypeError: If `loss` is no loss.
        ValueError: If it compares something else than classes, or when called,
            as the other loss does.

    Example:

    >>> loss = kd.losses.Standardized(kd.losses.SoftTargets(2.0))
    >>> abs(round(float(loss([[2.0, 0.0, 1.0]], [[20.0, 0.0, 10.0]])), 4))
    0.0
    """

    compares = _kinds.CLASSES

    def __init__(
        self,
        loss: keras.losses.Loss,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(name=name, reduction=reduction, dtype=dtype)
        self._losses = (_of_classes(loss),)
        self.uses_labels = getattr(loss, "uses_labels", False)

    @property
    def loss(self) -> keras.losses.Loss:
        """The other loss."""
        return self._losses[0]

    @property
    def default_weights(self) -> tuple[float, float | None]:
        """Those of the other loss."""
        return getattr(self.loss, "default_weights", (1.0, 1.0))

    @staticmethod
    def _named(place: Place) -> str:
        return place.name

    def call(self, targets: Any, student_logits: Tensor) -> Tensor:
        labels = None
        if self.uses_labels:
            targets, labels = targets
        (loss,) = self._having_numbers()
        v, z = map(standardized, pair(targets, student_logits))
        return called(loss, v, z, labels)

    def get_config(self) -> dict:
        loss = keras.saving.serialize_keras_object(self.loss)
        return {**super().get_config(), "loss": loss}

    @classmethod
    def from_config(cls, config: dict) -> "Standardized":
        return cls(**loaded(config, "loss"))


def standardized(logits: Tensor) -> Tensor:
    """Of mean 0 and standard deviation 1 over the classes."""
    logits = transforms.at_least_float32(logits)
    centred = logits - mean(logits)[..., None]
    degrees = ops.cast(max(logits.shape[-1] - 1, 1), logits.dtype)
    variance = ops.sum(ops.square(centred), axis=-1, keepdims=True) / degrees
    return centred / (root(variance) + _EPSILON)


def _of_classes(loss: Any) -> keras.losses.Loss:
    inner_loss("loss", loss)
    kind, of_examples = (
        _kinds.compares(loss),
        getattr(loss, "per_example", True),
    )
    if kind != _kinds.CLASSES or not of_examples:
        what = f"compares {kind}" if of_examples else "compares whole batches"
        raise ValueError(
            "`loss` must compare the classes of each example. Received: "
            f"{type(loss).__name__}, which {what}. Pass, for example, "
            "kd.losses.SoftTargets(temperature=2.0)."
        )
    return loss
