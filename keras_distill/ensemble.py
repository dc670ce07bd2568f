"""Several models as one teacher."""

import math
from collections.abc import Iterable
from typing import Any

import keras
from keras import ops

from keras_distill import _kinds, _validation, transforms
from keras_distill._inputs import same_inputs
from keras_distill._keras import graph
from keras_distill._keras.frozen import FrozenVariables
from keras_distill._registration import register

Tensor = Any
_COMBINE = ("arithmetic", "geometric")


@register
class Ensemble(FrozenVariables):
    """Several models as one: the logits of their mean prediction.

    Formula: with member distributions `p_m = softmax(v_m)` and weights `w_m`
    that sum to 1, the output is `log sum_m w_m p_m` (arithmetic) or
    `sum_m w_m log p_m` (geometric); Hinton et al. 2015, section 2. The softmax
    of the output is the mean distribution, renormalised where the geometric
    mean needs it; the geometric mean equals the softmax of the mean logits.
    With `kind="labels"` each unit is a distribution by itself, `p_m =
    sigmoid(v_m)`, and the output is the log odds of the mean: `log sum_m w_m
    p_m - log sum_m w_m (1 - p_m)`, or `sum_m w_m v_m`. All of it is computed in
    log space, in at least float32.

    It is no mean of values: for regression, average outputs by
    `keras.layers.Average` in a model of one's own.

    The members are frozen: they run in inference mode, none of their variables
    is trained, and their own `trainable` flags stay as they are.

    Args:
        members: Models that take the same inputs and end in logits of shape
            `(..., classes)`.
        combine: `"arithmetic"` or `"geometric"`.
        weights: One positive number per member, scaled to sum to 1. Equal
            weights by default.
        kind: What the logits are of: `"classes"` that exclude each other, or
            `"labels"` that do not, with a sigmoid for each.
        name: Name of the model.
        **kwargs: Passed to `keras.Model`.

    Returns:
        When called: logits, shape `(..., classes)`, at least float32.

    Raises:
        TypeError: If a member is not a Keras model, or a weight no number.
        ValueError: If there are no members, if one ends in a softmax or
            sigmoid, if class counts differ, or if `combine`, `weights` or
            `kind` do not fit.

    Example:

    >>> members = [
    ...     keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
    ...     for _ in range(2)
    ... ]
    >>> ensemble = kd.Ensemble(members, combine="geometric")
    >>> tuple(ensemble(np.ones((5, 4))).shape)
    (5, 3)
    """

    def __init__(
        self,
        members: list[keras.Model],
        combine: str = "arithmetic",
        weights: list[float] | None = None,
        *,
        kind: str = _kinds.CLASSES,
        name: str | None = None,
        **kwargs: Any,
    ) -> None:
        _kinds.one_of_both("kind", kind)
        _check_members(members, kind)
        if combine not in _COMBINE:
            raise ValueError(
                f"`combine` must be one of {_COMBINE}. Received: "
                f"combine={combine!r}."
            )
        super().__init__(name=name, autocast=False, **kwargs)
        self.members = list(members)
        self.combine = combine
        self.kind = kind
        self.member_weights = _normalised(weights, len(self.members))
        self.built = all(member.built for member in self.members)

    def wrapped(self) -> list[keras.Model]:
        return self.members

    def call(self, inputs: Tensor) -> Tensor:
        logits = [member(inputs, training=False) for member in self.members]
        if self.kind == _kinds.LABELS:
            return self._log_odds(
                [transforms.at_least_float32(member) for member in logits]
            )
        log_p = [transforms.log_probabilities(member) for member in logits]
        return self._log_mean(log_p)

    def _log_odds(self, logits: list[Tensor]) -> Tensor:
        if self.combine == "geometric":
            return self._log_mean(logits)  # All else cancels out.
        log_p = self._log_mean([ops.log_sigmoid(v) for v in logits])
        return log_p - self._log_mean([ops.log_sigmoid(-v) for v in logits])

    def _log_mean(self, logs: list[Tensor]) -> Tensor:
        """The mean of logarithms, or the logarithm of the mean."""
        if self.combine == "geometric":
            pairs = zip(self.member_weights, logs, strict=True)
            return sum(weight * member for weight, member in pairs)
        log_w = [math.log(weight) for weight in self.member_weights]
        pairs = zip(log_w, logs, strict=True)
        weighted = [weight + member for weight, member in pairs]
        return ops.logsumexp(ops.stack(weighted, axis=0), axis=0)

    def get_config(self) -> dict:
        serialize = keras.saving.serialize_keras_object
        return {
            **super().get_config(),
            "members": [serialize(member) for member in self.members],
            "combine": self.combine,
            "weights": list(self.member_weights),
            "kind": self.kind,
        }

    @classmethod
    def from_config(cls, config: dict, custom_objects: Any = None) -> Any:
        deserialize = keras.saving.deserialize_keras_object
        members = [
            deserialize(member, custom_objects=custom_objects)
            for member in config["members"]
        ]
        return cls(**{**config, "members": members})


def _check_members(members: Any, kind: str) -> None:
    if not isinstance(members, list | tuple) or not members:
        raise ValueError(
            "`members` must be a list of at least one Keras model. Received: "
            f"members={members!r}."
        )
    named = [(f"members[{i}]", member) for i, member in enumerate(members)]
    for name, member in named:
        _validation.is_model(name, member)
        _validation.one_output(name, member)
        graph.require_logits(name, member, kind, _kinds.BY_KIND)
    _validation.same_outputs(named)
    same_inputs(named)


def _normalised(weights: Any, count: int) -> tuple[float, ...]:
    if weights is None:
        return (1.0 / count,) * count
    if not isinstance(weights, Iterable):
        raise TypeError(
            "`weights` must hold one number per member. Received: "
            f"weights={weights!r}."
        )
    weights = list(weights)
    if len(weights) != count:
        raise ValueError(
            "`weights` must hold one number per member. Received: "
            f"{len(weights)} weights for {count} members."
        )
    fix = "Leave a member out instead of giving it no weight."
    numbers = [
        _validation.finite_number(f"weights[{i}]", weight, fix)
        for i, weight in enumerate(weights)
    ]
    largest = max(numbers)
    if min(numbers) <= 0 or min(numbers) / largest == 0:
        raise ValueError(
            "`weights` must be greater than 0. Received: "
            f"weights={weights!r}. {fix}"
        )
    scaled = [number / largest for number in numbers]
    return tuple(number / math.fsum(scaled) for number in scaled)
