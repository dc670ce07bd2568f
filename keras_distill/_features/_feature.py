"""One feature to distil: two layers, a loss, a projector and a weight."""

import inspect
from collections.abc import Sequence
from typing import Any

import keras

from keras_distill import _schedules, _validation
from keras_distill._keras.numbers import having
from keras_distill._registration import register


@register
class Feature:
    """Has an inner layer of the student give what one of the teacher gives.

    Formula: `weight * loss(f, r(g))`, a term of a Distiller's objective, where
    `f` and `g` are what the two layers return and `r` is the projector. With
    the mean squared error and a linear projector this is the hint of Romero et
    al. 2015, eq. (3), here beside the other terms and not in a stage before.

    Both models run once in a step, as without features, and what their layers
    return is taken on the way. `predict` and `evaluate` compute no features.

    A projector is trained with the student and by the same optimizer. It is
    saved with the Distiller, as `distiller.projectors`, and is no part of
    `distiller.student`. Where none is given and shapes differ, a layer of
    Keras's initial weights is made: maps, channels last, are resized to the
    teacher's by the mean over areas, and a `Dense` layer on the channels, for
    maps a 1x1 convolution, gives as many as the teacher has. A loss that
    compares positions or examples alone, `AttentionTransfer` or `RKD`, needs no
    equal channels.

    Args:
        teacher_layer: Name of a layer of the teacher, or its path where models
            and layers are nested, "block/conv1"; the end of a path that only
            one layer has will do. The layer is called once in a pass and
            returns one tensor, shape `(batch, ..., channels)`.
        student_layer: The same, of the student.
        loss: A `keras.losses.Loss`, or a name of one of Keras's, called as
            `loss(teacher_feature, student_feature, sample_weight)`. It gives
            one value for each position, shape `(batch, ...)`. One of your own
            says `per_position = False` in its class if it gives one for each
            example, and `per_example = False` too if it compares examples: such
            a loss takes no sample weights, no masks and no replicas.
        projector: A layer or model that takes the student's feature to the
            teacher's shape, or None. It is used as it is, not copied.
        weight: A number of at least 0, which may be set at any moment, or one
            of `keras.optimizers.schedules`. All else of a Feature is fixed.

    Returns:
        A term for `kd.Distiller(..., feature_losses=[...])`.

    Raises:
        TypeError: If an argument is of the wrong type.
        ValueError: If Keras has no loss of that name, if a loss does not reduce
            to one number or uses labels, or if `weight` is negative or not
            finite.

    Example:

    >>> def classifier(units):
    ...     hidden = keras.layers.Dense(units, "relu", name="hidden")
    ...     head = keras.layers.Dense(3)
    ...     return keras.Sequential([keras.Input((4,)), hidden, head])
    >>> teacher, student = classifier(32), classifier(2)
    >>> hint = kd.losses.Feature("hidden", "hidden", weight=0.1)
    >>> distiller = kd.Distiller(
    ...     teacher, student, kd.losses.SoftTargets(4.0), feature_losses=[hint]
    ... )
    >>> distiller.compile("adam")
    >>> history = distiller.fit(np.random.rand(8, 4), verbose=0)
    >>> sorted(history.history)
    ['feature_loss', 'loss', 'soft_loss']
    """

    teacher_layer: str
    student_layer: str
    loss: keras.losses.Loss
    projector: Any

    def __init__(
        self,
        teacher_layer: str,
        student_layer: str,
        loss: Any = "mse",
        projector: Any = None,
        weight: Any = 1.0,
    ) -> None:
        self.teacher_layer = _path("teacher_layer", teacher_layer)
        self.student_layer = _path("student_layer", student_layer)
        self.loss = _loss(loss)
        self.projector = _projector(projector)
        self.weight = weight

    def __setattr__(self, name: str, value: Any) -> None:
        if name != "weight" and name in vars(self):
            raise AttributeError(
                "Only the `weight` of a Feature can be set. Received: "
                f"feature.{name} = {value!r}. Make a new kd.losses.Feature, "
                "and a new kd.Distiller with it."
            )
        super().__setattr__(name, value)

    @property
    def weight(self) -> Any:
        return vars(self)["_weight"]

    @weight.setter
    def weight(self, value: Any) -> None:
        vars(self)["_weight"] = _schedules.checked(
            lambda number: _validation.weight("weight", number), value
        )

    def numbers_now(self) -> dict[str, Any]:
        """What a step reads anew each time, as it is written now."""
        weight = _schedules.number(self.weight, _schedules.LOWEST_WEIGHT)
        return {"weight": weight, "loss": _schedules.numbers_of(self.loss)}

    def with_projector(self, projector: Any) -> "Feature":
        return having(self, {"projector": projector})

    def get_config(self) -> dict:
        serialize = keras.saving.serialize_keras_object
        return {
            "teacher_layer": self.teacher_layer,
            "student_layer": self.student_layer,
            "loss": serialize(self.loss),
            "projector": serialize(self.projector),
            "weight": _schedules.written(self.weight),
        }

    @classmethod
    def from_config(cls, config: dict) -> "Feature":
        return cls(**_schedules.read(config, ("loss", "projector", "weight")))


def checked(features: Any) -> tuple[Feature, ...]:
    """The features of a Distiller."""
    several = isinstance(features, Sequence)
    wrong = (
        [f for f in features if not isinstance(f, Feature)] if several else 1
    )
    if wrong:
        raise TypeError(
            "`feature_losses` must be a list of kd.losses.Feature. Received: "
            f"feature_losses={features!r}. Pass [kd.losses.Feature("
            "'teacher_layer', 'student_layer')], or leave it out."
        )
    _require_own_projectors([f.projector for f in features])
    return tuple(features)


def _require_own_projectors(projectors: list) -> None:
    given = [id(each) for each in projectors if each is not None]
    if len(set(given)) < len(given):
        raise ValueError(
            "Each feature must have a projector of its own. Received: the same "
            "object for several features. Make a layer for each."
        )


def _path(name: str, value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise TypeError(
            f"`{name}` must be the name or path of a layer. Received: {name}="
            f"{value!r} of type {type(value).__name__}. Pass a string, for a "
            "layer object its `name`."
        )
    return value


def _loss(value: Any) -> keras.losses.Loss:
    loss = _of_keras(value) if isinstance(value, str) else value
    if not isinstance(loss, keras.losses.Loss):
        raise TypeError(
            "`loss` must be a keras.losses.Loss, or a name of one. Received: "
            f"loss={value!r}. Pass an object, for example "
            "kd.losses.AttentionTransfer(), or 'mse'."
        )
    if loss.reduction in (None, "none"):
        raise ValueError(
            "`loss` must reduce to one number. Received: reduction="
            f"{loss.reduction!r}. Leave it at 'sum_over_batch_size'."
        )
    if getattr(loss, "uses_labels", False):
        raise ValueError(
            "`loss` must not use labels, which are for outputs. Received: "
            f"loss={type(loss).__name__}(). Pass it as distillation_loss, and "
            "here 'mse', for example."
        )
    return loss


def _of_keras(name: str) -> keras.losses.Loss:
    """The loss of a name. Keras has functions for them, which do not reduce."""
    classes = {
        key.lower(): value
        for key, value in vars(keras.losses).items()
        if inspect.isclass(value)
    }
    try:
        found = getattr(keras.losses.get(name), "__name__", "")
        return classes[found.replace("_", "").lower()]()
    except (KeyError, ValueError):
        raise ValueError(
            "`loss` must be the name of a loss of Keras. Received: loss="
            f"{name!r}. Pass 'mse', 'mae', 'cosine_similarity', or an object, "
            "for example kd.losses.CosineDistance()."
        ) from None


def _projector(value: Any) -> Any:
    if value is not None and not isinstance(value, keras.layers.Layer):
        raise TypeError(
            "`projector` must be a layer or a model. Received: projector="
            f"{value!r} of type {type(value).__name__}. Pass, for example, "
            "keras.layers.Dense(64), or None for one that is made."
        )
    return value
