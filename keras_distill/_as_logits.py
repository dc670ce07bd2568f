"""Models that end in probabilities, turned to logits."""

from typing import Any

import keras
from keras import ops

from keras_distill import _kinds, _validation, transforms
from keras_distill._keras import graph
from keras_distill._keras.copies import twin_of
from keras_distill._keras.frozen import FrozenVariables
from keras_distill._keras.layers import sublayers
from keras_distill._keras.wrapping import Wrapping
from keras_distill._registration import register

Tensor = Any
# Before or behind them, a function of each element is the same.
_RESHAPING = (
    keras.layers.Flatten,
    keras.layers.Permute,
    keras.layers.Reshape,
)


@register
class LogProbabilities(Wrapping):
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

    kind = _kinds.CLASSES

    def __init__(
        self, model: keras.Model, *, name: str | None = None, **kwargs: Any
    ) -> None:
        _validation.is_model("model", model)
        super().__init__(name=name, autocast=False, **kwargs)
        self.model = model
        self.built = model.built

    def wrapped(self) -> list[keras.Model]:
        return [self.model]

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
    graph cannot be cut (a subclassed model, which is taken to output the
    probabilities of a softmax, or a softmax before layers that only change the
    shape) the result is a `LogProbabilities` model. A final sigmoid is removed
    in the same way, also from before such layers. A model in which anything
    else comes after a softmax is returned as it is: what it gives need not be
    probabilities. The variables are shared, not copied: training one model
    trains the other.

    Args:
        model: A built Keras model whose output is a softmax, shape `(...,
            classes)`, or a sigmoid, shape `(..., labels)`. A Functional or
            Sequential model that already ends in logits is returned as it is.

    Returns:
        A Keras model whose output is logits, in the same shape.

    Raises:
        TypeError: If `model` is not a Keras model.
        ValueError: If it is not built or has several outputs, or if a sigmoid
            cannot be cut out of its graph.

    Example:

    >>> layers = [keras.Input((4,)), keras.layers.Dense(3, "softmax")]
    >>> model = kd.as_logits(keras.Sequential(layers))
    >>> model.layers[-1].activation.__name__
    'linear'
    """
    _validation.is_model("model", model)
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
    activations = graph.output_activations(model)
    if not activations:
        return model
    if "sigmoid" in activations:
        return _without_sigmoid(model)
    return _cut(graph.end_of(model)) or LogProbabilities(model)


def _without_sigmoid(model: keras.Model) -> keras.Model:
    """The model cut before its sigmoid.

    The logarithm of `p / (1-p)` would not do: in float32 a `p` above 1 - 3e-8
    is 1.
    """
    found = _cut(graph.end_of(model, lambda op: isinstance(op, _RESHAPING)))
    if found is None:
        raise ValueError(
            "`model` must end in a sigmoid that can be cut out of its graph: "
            "of a plain layer, with nothing behind it but a change of shape. "
            f"Received: model={model.name!r}. Make it again with a linear last "
            "layer, and set its weights."
        )
    return found


def _cut(end: graph.End) -> keras.Model | None:
    """The model before its last activation, None where that cannot be done."""
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
