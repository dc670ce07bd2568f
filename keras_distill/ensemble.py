"""Teachers made of other models: ensembles, and models turned to logits."""

import math
from collections.abc import Iterable
from typing import Any

import keras
from keras import ops

from keras_distill import _validation, transforms
from keras_distill._inputs import same_inputs
from keras_distill._keras import graph
from keras_distill._keras.copies import twin_of
from keras_distill._keras.frozen import FrozenVariables
from keras_distill._keras.layers import sublayers
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
    Both are computed in log space, in at least float32.

    The members are frozen: they run in inference mode, none of their variables
    is trained, and their own `trainable` flags stay as they are.

    Args:
        members: Models that take the same inputs and end in logits of shape
            `(..., classes)`.
        combine: `"arithmetic"` or `"geometric"`.
        weights: One positive number per member, scaled to sum to 1. Equal
            weights by default.
        name: Name of the model.
        **kwargs: Passed to `keras.Model`.

    Returns:
        When called: logits, shape `(..., classes)`, at least float32.

    Raises:
        TypeError: If a member is not a Keras model, or a weight no number.
        ValueError: If there are no members, if one ends in a softmax, if class
            counts differ, or if `combine` or `weights` do not fit.

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
        name: str | None = None,
        **kwargs: Any,
    ) -> None:
        _check_members(members)
        if combine not in _COMBINE:
            raise ValueError(
                f"`combine` must be one of {_COMBINE}. Received: "
                f"combine={combine!r}."
            )
        super().__init__(name=name, autocast=False, **kwargs)
        self.members = list(members)
        self.combine = combine
        self.member_weights = _normalised(weights, len(self.members))
        self.built = all(member.built for member in self.members)

    def call(self, inputs: Tensor) -> Tensor:
        log_p = [
            transforms.log_probabilities(member(inputs, training=False))
            for member in self.members
        ]
        if self.combine == "geometric":
            pairs = zip(self.member_weights, log_p, strict=True)
            return sum(weight * member for weight, member in pairs)
        log_w = [math.log(weight) for weight in self.member_weights]
        pairs = zip(log_w, log_p, strict=True)
        weighted = [weight + member for weight, member in pairs]
        return ops.logsumexp(ops.stack(weighted, axis=0), axis=0)

    def get_config(self) -> dict:
        serialize = keras.saving.serialize_keras_object
        return {
            **super().get_config(),
            "members": [serialize(member) for member in self.members],
            "combine": self.combine,
            "weights": list(self.member_weights),
        }

    @classmethod
    def from_config(cls, config: dict, custom_objects: Any = None) -> Any:
        deserialize = keras.saving.deserialize_keras_object
        members = [
            deserialize(member, custom_objects=custom_objects)
            for member in config["members"]
        ]
        return cls(**{**config, "members": members})


def _check_members(members: Any) -> None:
    if not isinstance(members, list | tuple) or not members:
        raise ValueError(
            "`members` must be a list of at least one Keras model. Received: "
            f"members={members!r}."
        )
    named = [(f"members[{i}]", member) for i, member in enumerate(members)]
    for name, member in named:
        _validation.is_model(name, member)
        _validation.one_output(name, member)
        graph.require_logits(name, member)
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


@register
class LogProbabilities(keras.Model):
    """Turns a model that outputs probabilities into one that outputs logits.

    Formula: `log p`. The softmax of `log(p) / T` is the power transform of `p`,
    so the result serves as logits at every temperature; Zheng and Yang 2024,
    eq. (7)-(9). A probability that the model has rounded to zero counts as the
    smallest one that its dtype can hold.

    `kd.as_logits` makes one where it cannot cut the softmax out of the graph.

    Args:
        model: A Keras model that outputs probabilities, shape
            `(..., classes)`.
        name: Name of the model.
        **kwargs: Passed to `keras.Model`.

    Returns:
        When called: logits, shape `(..., classes)`, at least float32.

    Raises:
        TypeError: If `model` is not a Keras model.
    """

    def __init__(
        self, model: keras.Model, *, name: str | None = None, **kwargs: Any
    ) -> None:
        _validation.is_model("model", model)
        super().__init__(name=name, autocast=False, **kwargs)
        self.model = model
        self.built = model.built

    def call(self, inputs: Tensor, training: bool | None = None) -> Tensor:
        p = ops.convert_to_tensor(self.model(inputs, training=training))
        dtype = keras.backend.standardize_dtype(p.dtype)
        smallest = {"float16": 2.0**-24, "float64": 2.0**-1022}
        floor = smallest.get(dtype, 2.0**-126)
        return ops.log(ops.maximum(transforms.at_least_float32(p), floor))

    def get_config(self) -> dict:
        model = keras.saving.serialize_keras_object(self.model)
        return {**super().get_config(), "model": model}

    @classmethod
    def from_config(cls, config: dict, custom_objects: Any = None) -> Any:
        model = keras.saving.deserialize_keras_object(
            config["model"], custom_objects=custom_objects
        )
        return cls(**{**config, "model": model})


def as_logits(model: keras.Model) -> keras.Model:
    """The same model, ending in logits, with the same weights.

    The final softmax is removed: a softmax activation of the last layer, a
    Softmax layer, or either of them at the end of a nested model. Where the
    graph cannot be cut (a subclassed model, which is taken to output
    probabilities, or a softmax followed by other layers) the result is a
    `LogProbabilities` model. The variables are shared, not copied: training
    one model trains the other.

    Args:
        model: A built Keras model whose output is a softmax, shape
            `(..., classes)`. A Functional or Sequential model that already ends
            in logits is returned as it is.

    Returns:
        A Keras model whose output is logits, shape `(..., classes)`.

    Raises:
        TypeError: If `model` is not a Keras model.
        ValueError: If it is not built, has several outputs, or ends in a
            sigmoid.

    Example:

    >>> layers = [keras.Input((4,)), keras.layers.Dense(3, "softmax")]
    >>> model = kd.as_logits(keras.Sequential(layers))
    >>> model.layers[-1].activation.__name__
    'linear'
    """
    _validation.is_model("model", model)
    activations = graph.output_activations(model)
    if "sigmoid" in activations:
        graph.require_logits("model", model)
    if not model.built:
        raise ValueError(
            "`model` must be built, so that the result can share its weights. "
            f"Received: unbuilt model {model.name!r}. Call it on a batch first."
        )
    if isinstance(model, LogProbabilities | FrozenVariables):
        return model
    if not getattr(model, "outputs", None):
        return LogProbabilities(model)
    _validation.one_output("model", model)
    if not activations:
        return model
    return _without_softmax(model) or LogProbabilities(model)


def _without_softmax(model: keras.Model) -> keras.Model | None:
    """The model cut before its softmax, None where that cannot be done."""
    end = graph.end_of(model)
    layer = end.layer
    if graph.activation_of(layer) is None or len(end.inputs) > 1:
        return None
    if not getattr(layer, "weights", []):
        return end.before("_logits")
    if sublayers(layer) or getattr(layer, "quantization_mode", None):
        return None
    name = f"{layer.name}_logits" if end.used_before else layer.name
    twin = twin_of(layer, activation="linear", name=name)
    return end.replaced(twin, "_logits")
