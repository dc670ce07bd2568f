"""One loss made of several."""

from collections.abc import Sequence
from typing import Any

import keras

from keras_distill import _kinds, _schedules, _validation
from keras_distill._objective import require_whole_batch
from keras_distill._registration import register
from keras_distill.losses._wrapping import (
    MadeOfLosses,
    Place,
    called,
    inner_loss,
    loaded,
)

Tensor = Any


@register
class Sum(MadeOfLosses):
    """The weighted sum of several losses of one output.

    Formula: `sum_k w_k loss_k(v, z)`. It compares the same outputs in several
    ways, as `SoftTargets` and `DIST` do; outputs that differ have a loss each,
    in a structure.

    The numbers of its losses and its weights may be set at any moment: those of
    the first are `first.temperature`, which is `sum.loss_0_temperature` as
    well, and `sum.loss_0_weight`.

    Args:
        losses: Two or more losses that compare the same: classes, labels or
            values.
        weights: A number of at least 0 for each, in a Distiller also one of
            `keras.optimizers.schedules`; None for 1.
        reduction: As in `keras.losses.Loss`, of the sum.
        name: Name of the loss.
        dtype: Dtype of the computation, float32 unless said otherwise.

    Call arguments:
        - teacher_logits, student_logits: As the losses take them; a pair
          `(teacher_logits, labels)` first where one of them uses labels.
        - sample_weight: Optional weights that broadcast to `(...)`, unless one
          of the losses compares whole batches.

    Returns:
        The mean over examples, or what `reduction` asks for.

    Raises:
        TypeError: If `losses` are no losses, or a weight is no real number.
        ValueError: If there is one loss only, if the losses compare different
            things or have a reduction of their own, if a weight is below 0, or
            there are other weights than losses; or when called, as one of the
            losses does.

    Example:

    >>> both = kd.losses.Sum(
    ...     [kd.losses.SoftTargets(2.0), kd.losses.LogitMatching()], [1.0, 0.5]
    ... )
    >>> round(float(both([[2.0, 0.0]], [[0.0, 0.0]])), 4)
    0.6938
    """

    def __init__(
        self,
        losses: Sequence[keras.losses.Loss],
        weights: Sequence[Any] | None = None,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(name=name, reduction=reduction, dtype=dtype)
        self._losses = _checked(losses)
        for i, weight in enumerate(_of_each(weights, len(self._losses))):
            setattr(self, _weight_name(i), weight)
        self.compares = _kinds.compares(self._losses[0])
        self.uses_labels = any(
            getattr(loss, "uses_labels", False) for loss in self._losses
        )
        self.takes_top_k = _all("takes_top_k", self._losses, False)
        self.per_example = _all("per_example", self._losses)
        self.per_position = _of_positions(self._losses)

    @property
    def losses(self) -> tuple:
        """The losses, whose numbers may be set."""
        return self._losses

    @property
    def default_weights(self) -> tuple[float, float]:
        """Those of the first loss for the labels, 1 for the sum."""
        weights = getattr(self._losses[0], "default_weights", (1.0, 1.0))
        return weights[0], 1.0

    @property
    def numbers(self) -> tuple[str, ...]:
        weights = map(_weight_name, range(len(self._losses)))
        return (*weights, *super().numbers)

    @staticmethod
    def _named(place: Place) -> str:
        return f"loss_{place.loss}_{place.name}"

    def __setattr__(self, name: str, value: Any) -> None:
        if name in map(_weight_name, range(len(self._losses))):
            self.__dict__[name] = _schedules.checked(
                lambda number: _validation.weight(name, number), value
            )
        else:
            super().__setattr__(name, value)

    def __call__(
        self, targets: Any, student_logits: Tensor, sample_weight: Any = None
    ) -> Tensor:
        require_whole_batch(self, student_logits, sample_weight)
        return super().__call__(targets, student_logits, sample_weight)

    def call(self, targets: Any, student_logits: Tensor) -> Tensor:
        labels = None
        if self.uses_labels:
            targets, labels = targets
        total: Any = 0.0
        for i, loss in enumerate(self._having_numbers()):
            value = called(loss, targets, student_logits, labels)
            total = total + self._weight(i, value) * value
        return total

    def _weight(self, i: int, value: Tensor) -> Any:
        name = _weight_name(i)
        given = getattr(self, name)
        return _validation.number_of(value, name, given, _validation.weight)

    def get_config(self) -> dict:
        serialize = keras.saving.serialize_keras_object
        weights = [
            _schedules.written(getattr(self, _weight_name(i)))
            for i in range(len(self._losses))
        ]
        own = {"losses": serialize(list(self._losses)), "weights": weights}
        return {**super().get_config(), **own}

    @classmethod
    def from_config(cls, config: dict) -> "Sum":
        return cls(**loaded(config, "losses", "weights"))


def _weight_name(i: int) -> str:
    return f"loss_{i}_weight"


def _checked(losses: Any) -> tuple:
    if not isinstance(losses, list | tuple) or len(losses) < 2:
        raise ValueError(
            "`losses` must be a list of two or more losses. Received: "
            f"losses={losses!r}. Pass one loss by itself."
        )
    found = tuple(inner_loss("losses", loss) for loss in losses)
    kinds = [_kinds.compares(loss) for loss in found]
    if len(set(kinds)) > 1:
        raise ValueError(
            "`losses` must compare the same. Received: losses that compare "
            f"{kinds}. Outputs of different kinds have a loss each, in a "
            "structure like that of the outputs."
        )
    return found


def _of_each(weights: Any, count: int) -> Sequence:
    if weights is None:
        return [1.0] * count
    if not isinstance(weights, list | tuple) or len(weights) != count:
        raise ValueError(
            f"`weights` must be a list of {count} numbers, one for each loss. "
            f"Received: weights={weights!r}."
        )
    return weights


def _all(
    name: str, losses: Sequence[keras.losses.Loss], otherwise: bool = True
) -> bool:
    return all(getattr(loss, name, otherwise) for loss in losses)


def _of_positions(losses: Sequence[keras.losses.Loss]) -> bool:
    """Whether losses of examples give a value for each position."""
    of_examples = [x for x in losses if getattr(x, "per_example", True)]
    found = {getattr(loss, "per_position", True) for loss in of_examples}
    if len(found) > 1:
        names = ", ".join(type(loss).__name__ for loss in losses)
        raise ValueError(
            "`losses` must all compare single positions, or all whole "
            f"examples. Received: {names}. Pass a kd.losses.Feature for each."
        )
    return False not in found
