"""Calibration by one temperature: found on data, and put into a model."""

from typing import Any

import keras
import numpy as np

from keras_distill import _kinds, _validation
from keras_distill._keras.copies import copy_of, require_graph
from keras_distill._numpy import softmax
from keras_distill._predictions import predictions
from keras_distill.bias import _last_layer

Array = np.ndarray

_STEPS, _PRECISION, _ROUNDING = 2_000, 1e-12, 1e-12


def scale_logits(model: keras.Model, factor: float) -> keras.Model:
    """Copies a model, with its logits multiplied by a number.

    Formula: `factor * z`; with `factor = 1/T` the softmax at temperature `T`,
    Guo et al. 2017 (arXiv 1706.04599), section 4.2. The most probable class
    stays the same.

    The factor goes into kernel and bias of the last layer where that is a
    `Dense` or `EinsumDense` layer. Another model gets a
    `keras.layers.Rescaling` layer behind it. The original is not changed, and
    shares nothing with the result.

    Args:
        model: A Functional or Sequential model that ends in logits, shape
            `(..., classes)`, or `(..., labels)` before a sigmoid.
        factor: A number above 0.

    Returns:
        A plain Keras model of the same kind, not compiled.

    Raises:
        TypeError: If `model` is no Keras model, or `factor` no number.
        ValueError: If the model is subclassed, not built, has several outputs,
            ends in probabilities or cannot be cloned; or if the factor is not
            finite and above 0.

    Example:

    >>> layers = [keras.Input((4,)), keras.layers.Dense(3)]
    >>> model = keras.Sequential(layers)
    >>> both = model, kd.bias.scale_logits(model, 0.5)
    >>> before, after = [m.predict(np.ones((1, 4)), verbose=0) for m in both]
    >>> np.allclose(after, 0.5 * before)
    True
    """
    _last_layer.ends_in_logits(model, _kinds.LOGITS)
    require_graph("model", model)
    fix = "Pass 1 / kd.bias.fit_temperature(model, held_out)."
    factor = _validation.finite_number("factor", factor, fix)
    if factor <= 0:
        raise ValueError(
            f"`factor` must be above 0. Received: factor={factor}. {fix}"
        )
    copy = copy_of("model", model)
    layer = _last_layer.last_layer(copy)
    if layer is None or _is_not_its_kernel(layer):
        return _last_layer.behind(copy, scale=factor)
    for variable in (layer.kernel, layer.bias):
        if variable is not None:
            variable.assign(factor * keras.ops.convert_to_numpy(variable))
    return copy


def _is_not_its_kernel(layer: Any) -> bool:
    """Whether a layer multiplies by something else than a kernel of floats."""
    return bool(layer.quantization_mode or layer.lora_enabled)


def fit_temperature(
    model: keras.Model,
    dataset: Any,
    *,
    kind: str = _kinds.CLASSES,
    batch_size: int = 256,
) -> float:
    """Finds the temperature of the highest likelihood on held-out data.

    Formula: the `T` that minimises `mean_i -log softmax(z_i/T)[y_i]`, Guo et
    al. 2017 (arXiv 1706.04599), section 4.2. In `1/T` that is convex, and its
    only minimum is where the mean logit under the model's own probabilities is
    the mean logit of the labels. Above 1 the model is too sure of itself, below
    1 not sure enough, as students of `TTM` and `WTTM` are.

    `kd.bias.scale_logits(model, 1 / T)` is then calibrated.

    Args:
        model: A model that ends in logits, shape `(..., classes)`.
        dataset: `(x, y)` or `(x, y, sample_weight)` of arrays, or a
            `tf.data.Dataset`, `keras.utils.PyDataset` or other iterable of
            batches of them. Labels are class numbers or one-hot; with
            `kind="labels"`, 0 or 1 for each unit.
        kind: What the logits are of: "classes" that exclude each other, or
            "labels" that do not, with a sigmoid for each.
        batch_size: Batch size for arrays.

    Returns:
        The temperature, without unit, to a relative error of 1e-6 and less.

    Raises:
        TypeError: If `model` is no Keras model.
        ValueError: If the model ends in probabilities, the data have no labels,
            `kind` is neither of the two, or the likelihood has no maximum: all
            answers are right, or the labels' logits are not above the mean.

    Example:

    >>> layers = [keras.Input((3,)), keras.layers.Identity()]
    >>> model = keras.Sequential(layers)
    >>> logits = np.array([[4.0, 0.0, 0.0], [0.0, 4.0, 0.0], [4.0, 0.0, 0.0]])
    >>> round(kd.bias.fit_temperature(model, (logits, [0, 1, 2])), 4)
    2.8854
    """
    _kinds.one_of_both("kind", kind)
    _last_layer.ends_in_logits(model, kind, _kinds.BY_KIND)
    _validation.count("batch_size", batch_size)
    found = predictions(model, dataset, batch_size, kind)
    if found.labels is None:
        raise ValueError(
            "`dataset` must have labels. Received: inputs alone. Pass (x, y) "
            "of held-out data."
        )
    return 1 / _inverse(*_problem(*found, kind))


def _problem(
    logits: Array, labels: Any, weight: Array, kind: str
) -> tuple[Array, Array, Array]:
    """Logits of classes less the largest, that of the label, and weights."""
    if kind == _kinds.LABELS:
        # A sigmoid of z is a softmax of 0 and z.
        weight = np.repeat(weight, logits.shape[-1])
        logits = np.stack([np.zeros(logits.size), logits.ravel()], axis=1)
        labels = labels.ravel().astype(int)
    logits = logits - logits.max(axis=-1, keepdims=True)
    counted = weight > 0
    own = np.take_along_axis(logits, labels[:, None], axis=-1)[:, 0]
    weight = weight[counted] / weight.sum()
    return logits[counted], own[counted], weight


def _inverse(logits: Array, own: Array, weight: Array) -> float:
    """The root of the derivative of the mean loss to the inverse temperature.

    By Newton's method between two ends that enclose the root, which is halved
    where a step would leave them.
    """

    def derivatives(inverse: float) -> tuple[float, float]:
        p = softmax(inverse * logits)
        mean = np.sum(p * logits, axis=-1)
        variance = np.sum(p * (logits - mean[:, None]) ** 2, axis=-1)
        return float(weight @ (mean - own)), float(weight @ variance)

    _has_a_minimum(logits, own, weight)
    low, high = _ends(derivatives)
    inverse = np.sqrt(low * high)
    for _ in range(_STEPS):
        slope, curvature = derivatives(inverse)
        low, high = (low, inverse) if slope > 0 else (inverse, high)
        step = inverse - slope / curvature if curvature else low
        if not low < step < high:
            step = np.sqrt(low * high)
        if abs(step - inverse) <= _PRECISION * inverse:
            break
        inverse = step
    return float(inverse)


def _ends(derivatives: Any) -> tuple[float, float]:
    low = high = 1.0
    while derivatives(high)[0] <= 0:
        low, high = high, 2 * high
    while derivatives(low)[0] > 0:
        low, high = low / 2, low
    return low, high


def _has_a_minimum(logits: Array, own: Array, weight: Array) -> None:
    if not logits.any():
        raise ValueError(
            "The logits of an example must differ. Received: logits that are "
            "all alike, whose softmax is the same at every temperature."
        )
    received = "Received: labels whose logits are, on average, "
    if weight @ own == 0:
        raise ValueError(
            "The likelihood has no maximum: with a temperature of 0 the model "
            f"would be right on all examples. {received}the largest of their "
            "examples. Pass more held-out data, which the model has not seen."
        )
    mean = weight @ logits.mean(axis=-1)  # Below 0, as the largest is 0.
    if weight @ own <= mean * (1 - _ROUNDING):
        raise ValueError(
            "The likelihood has no maximum: no temperature is better than "
            f"equal probabilities. {received}not above the mean of their "
            "examples. Check that labels and examples belong together, and "
            "that the model has learned something."
        )
