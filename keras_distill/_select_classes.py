"""Some of a model's classes, in an order of one's own."""

from collections.abc import Iterable
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_distill import _kinds, _validation
from keras_distill._keras import graph
from keras_distill._keras.wrapping import Wrapping
from keras_distill._registration import register

Tensor = Any


@register
class SelectedClasses(Wrapping):
    """What `select_classes` makes of a model."""

    def __init__(
        self,
        model: keras.Model,
        indices: list[int],
        *,
        name: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(name=name, autocast=False, **kwargs)
        self.model, self.indices = model, tuple(indices)
        self.kind = getattr(model, "kind", _kinds.CLASSES)
        self.built = model.built

    def wrapped(self) -> list[keras.Model]:
        return [self.model]

    def call(self, inputs: Tensor, training: bool | None = None) -> Tensor:
        logits = self.model(inputs, training=training)
        return ops.take(logits, np.array(self.indices, "int32"), axis=-1)

    def get_config(self) -> dict:
        model = keras.saving.serialize_keras_object(self.model)
        own = {"model": model, "indices": list(self.indices)}
        return {**super().get_config(), **own}

    @classmethod
    def from_config(cls, config: dict, custom_objects: Any = None) -> Any:
        model = keras.saving.deserialize_keras_object(
            config["model"], custom_objects=custom_objects
        )
        return cls(**{**config, "model": model})


def select_classes(teacher: keras.Model, indices: Iterable[int]) -> keras.Model:
    """The same model with some of its classes, in the student's order.

    Formula: `z_k = v_indices[k]`. The softmax of `z` is the teacher's
    distribution under the condition that one of these classes is the right one.
    The variables are shared, not copied.

    Args:
        teacher: A built Keras model that ends in logits, shape `(...,
            classes)`; see `kd.as_logits` for one that ends in a softmax.
        indices: For each class of the student, in its order, the number of the
            same class in the teacher's.

    Returns:
        A Keras model whose output is logits, shape `(..., len(indices))`.

    Raises:
        TypeError: If `teacher` is not a Keras model.
        ValueError: If it ends in probabilities or has several outputs, or if
            the indices are not different whole numbers of its classes.

    Example:

    >>> layers = [keras.Input((4,)), keras.layers.Dense(1000)]
    >>> animals = kd.select_classes(keras.Sequential(layers), [281, 207, 1])
    >>> animals.predict(np.ones((2, 4)), verbose=0).shape
    (2, 3)
    """
    _validation.is_model("teacher", teacher)
    _validation.one_output("teacher", teacher)
    graph.require_logits(
        "teacher", teacher, getattr(teacher, "kind", _kinds.CLASSES)
    )
    outputs = getattr(teacher, "outputs", None)
    classes = outputs[0].shape[-1] if outputs else None
    return SelectedClasses(teacher, _checked(indices, classes))


def _checked(indices: Iterable[int], classes: int | None) -> list[int]:
    found = list(indices)
    whole = all(
        isinstance(i, int | np.integer) and not isinstance(i, bool)
        for i in found
    )
    most = np.inf if classes is None else classes
    if (
        not found
        or not whole
        or len(set(found)) < len(found)
        or not all(0 <= i < most for i in found)
    ):
        known = "" if classes is None else f" of its {classes}"
        raise ValueError(
            "`indices` must be one or more different numbers of the teacher's "
            f"classes{known}, from 0. Received: indices={indices!r}. Give, for "
            "each class of the student, the number that it has in the teacher."
        )
    return [int(i) for i in found]
