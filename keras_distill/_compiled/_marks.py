"""Losses and metrics that a user vouches for, and what others say of logits."""

import contextlib
import functools
import inspect
from collections.abc import Callable
from typing import Any

import keras

from keras_distill._registration import register

Tensor = Any
# Keras makes one of several functions of these, by the shapes of the data.
SHORT_FOR_SEVERAL = ("accuracy", "acc", "crossentropy", "ce")


def on_logits(loss_or_metric: Any) -> Any:
    """Says that a loss or metric takes the logits that a student ends in.

    A `kd.Distiller` tries out what `compile` got: beside a loss of classes that
    exclude each other it must not change when a constant is added to all logits
    of an example. What is meant to change, such as a cross-entropy with a
    penalty on the normaliser, and what cannot be tried out, is let through with
    this mark. It changes no value and no name in the logs.

    Args:
        loss_or_metric: What `compile` takes as a loss or as a metric: an object
            of Keras, a function of labels and outputs, or the name of one.

    Returns:
        The same loss or metric, marked. It can be saved, and copied from its
        config, if what it marks can be.

    Raises:
        TypeError: If it is neither a loss nor a metric.
        ValueError: If it is the name of no loss or metric, or a name that
            stands for several.

    Example:

    >>> def with_penalty(y, z):
    ...     z_loss = keras.ops.logsumexp(z, axis=-1) ** 2
    ...     crossentropy = keras.losses.sparse_categorical_crossentropy
    ...     return crossentropy(y, z, from_logits=True) + 1e-4 * z_loss
    >>> loss = kd.losses.on_logits(with_penalty)
    >>> round(float(loss(np.array([0]), np.array([[0.0, 0.0]]))[0]), 4)
    0.6932
    """
    found = _resolved(loss_or_metric)
    if isinstance(found, MARKED):
        return found
    if isinstance(found, keras.losses.Loss):
        return LossOnLogits(found)
    if isinstance(found, keras.metrics.Metric):
        return MetricOnLogits(found)
    if callable(found) and not inspect.isclass(found):
        name = loss_or_metric if isinstance(loss_or_metric, str) else None
        return FunctionOnLogits(found, name)
    raise TypeError(
        "`loss_or_metric` must be a loss or a metric. Received: "
        f"loss_or_metric={loss_or_metric!r} of type "
        f"{type(loss_or_metric).__name__}. Pass an object of keras.losses or "
        "keras.metrics, a function of labels and outputs, or the name of one."
    )


def _resolved(given: Any) -> Any:
    if not isinstance(given, str):
        return given
    if given.lower() in SHORT_FOR_SEVERAL:
        raise ValueError(
            "`loss_or_metric` must name one loss or metric. Received: "
            f"loss_or_metric={given!r}, which stands for several. Pass the one "
            "that you mean, for example "
            "keras.metrics.BinaryAccuracy(threshold=0.0)."
        )
    for get in (keras.losses.get, keras.metrics.get):
        with contextlib.suppress(ValueError):
            return get(given)
    raise ValueError(
        "`loss_or_metric` must name a loss or a metric. Received: "
        f"loss_or_metric={given!r}, which Keras does not know. Pass the object "
        "or function itself."
    )


class _Marked:
    """Holds what it marks, and is saved with it."""

    marks: Any

    def get_config(self) -> dict:
        return {"marks": keras.saving.serialize_keras_object(self.marks)}

    @classmethod
    def from_config(cls, config: dict) -> Any:
        marks = keras.saving.deserialize_keras_object(config["marks"])
        return cls(**{**config, "marks": marks})


@register
class LossOnLogits(_Marked, keras.losses.Loss):
    def __init__(self, marks: keras.losses.Loss) -> None:
        super().__init__(marks.name, marks.reduction, marks.dtype)
        self.marks = marks

    def __call__(self, *args: Any, **kwargs: Any) -> Tensor:
        return self.marks(*args, **kwargs)


@register
class MetricOnLogits(_Marked, keras.metrics.Metric):
    def __init__(self, marks: keras.metrics.Metric) -> None:
        super().__init__(name=marks.name, dtype=marks.dtype)
        self.marks = marks

    def update_state(self, *args: Any, **kwargs: Any) -> Any:
        return self.marks.update_state(*args, **kwargs)

    def result(self) -> Any:
        return self.marks.result()

    def reset_state(self) -> None:
        self.marks.reset_state()


@register
class FunctionOnLogits(_Marked):
    """Keras makes of it, as of a function, a loss or the mean of a metric."""

    def __init__(self, marks: Callable, name: str | None = None) -> None:
        self.marks = marks
        # Where Keras looks for what to call it in the logs.
        kind = type(marks).__name__
        self.__name__ = name or getattr(marks, "__name__", kind)

    def __call__(self, *args: Any, **kwargs: Any) -> Tensor:
        return self.marks(*args, **kwargs)

    def get_config(self) -> dict:
        return {**super().get_config(), "name": self.__name__}


MARKED = (LossOnLogits, MetricOnLogits, FunctionOnLogits)


def is_marked(item: Any) -> bool:
    return isinstance(item, MARKED)


def marked_by(item: Any) -> Any:
    """What `on_logits` was called with; anything else as it is."""
    return item.marks if is_marked(item) else item


def from_logits(item: Any) -> bool | None:
    """What a loss or metric says of it, None if nothing."""
    if inspect.isfunction(item):
        parameter = inspect.signature(item).parameters.get("from_logits")
        said = parameter.default if parameter else None
    else:
        said = getattr(item, "from_logits", _config(item).get("from_logits"))
    return said if isinstance(said, bool) else None


def with_from_logits(item: Any) -> Any:
    """The same loss or metric with `from_logits=True`, None if it has none."""
    if from_logits(item) is None:
        return None
    if inspect.isfunction(item):
        return functools.partial(item, from_logits=True)
    try:
        return type(item).from_config({**_config(item), "from_logits": True})
    except Exception:  # Of a user's class, which may say anything.
        return None


def _config(item: Any) -> dict:
    if isinstance(item, keras.losses.Loss | keras.metrics.Metric):
        with contextlib.suppress(Exception):
            return item.get_config()
    return {}
