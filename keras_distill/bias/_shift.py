"""Finding shifts of logits, and putting them into a model's bias."""

import contextlib
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from keras_distill import _kinds, _validation
from keras_distill._keras.copies import copy_of, require_graph
from keras_distill._predictions import predictions
from keras_distill.bias import (
    _classes,
    _label_shifts,
    _last_layer,
    _solvers,
)
from keras_distill.bias._classes import Classes

# Logits, labels and weights, one row for each example.
_Data = tuple[np.ndarray, np.ndarray, np.ndarray]

_OBJECTIVES = ("accuracy", "likelihood")


def shift_bias(
    model: keras.Model, classes: Classes, amount: float | Sequence[float]
) -> keras.Model:
    """Copies a model, with the logits of some classes shifted.

    Formula: `z_k + amount` for each class `k` of `classes`; Hinton et al. 2015,
    section 3.

    The shift goes into the bias of the last layer where that is a `Dense` or
    `EinsumDense` layer with one bias per class. Another model gets a
    `keras.layers.Rescaling` layer behind it. The original is not changed, and
    shares nothing with the result.

    Args:
        model: A Functional or Sequential model that ends in logits, shape
            `(..., classes)`, or `(..., labels)` before a sigmoid.
        classes: The classes or labels to shift: a number, a sequence of numbers
            and groups of numbers, or None for all.
        amount: What to add to the logits, in nats: one number for all, or one
            for each entry of `classes`.

    Returns:
        A plain Keras model of the same kind, not compiled.

    Raises:
        TypeError: If `model` is no Keras model, or `amount` no number.
        ValueError: If the model is subclassed, not built, has several outputs,
            ends in probabilities or cannot be cloned; if a class does not exist
            or is named twice; or if amounts and classes differ in number.

    Example:

    >>> layers = [keras.Input((4,)), keras.layers.Dense(3)]
    >>> model = keras.Sequential(layers)
    >>> shifted = kd.bias.shift_bias(model, [2], 3.5)
    >>> shifted.layers[-1].bias.numpy().tolist()
    [0.0, 0.0, 3.5]
    """
    _last_layer.ends_in_logits(model, _kinds.LOGITS)
    require_graph("model", model)
    num_classes = model.outputs[0].shape[-1]
    groups = _classes.groups_of(classes, num_classes)
    offset = _solvers.spread(
        _classes.amounts_of(amount, groups), groups, num_classes
    )
    copy = copy_of("model", model)
    layer = _last_layer.last_layer(copy)
    # One number for each class; a layer for sequences may have one per step.
    if layer is None or _last_layer.shape_of(layer.bias) != offset.shape:
        return _last_layer.behind(copy, offset=offset.tolist())
    layer.bias.assign(keras.ops.convert_to_numpy(layer.bias) + offset)
    return copy


def fit_bias(
    model: keras.Model,
    dataset: Any,
    classes: Classes = None,
    *,
    kind: str = _kinds.CLASSES,
    objective: str = "accuracy",
    batch_size: int = 256,
) -> np.ndarray:
    """Finds the shifts of logits that are best on held-out, labelled data.

    Give the result to `shift_bias`. Hinton et al. 2015, section 3, shift by
    what is best on the test set; use data that is neither test nor transfer
    set.

    - "accuracy": as a function of one shift the accuracy is constant between
      the places where an example's answer changes, so its maximum is found
      exactly, by sorting these places. Of several best intervals the widest is
      taken, and its middle; 0 if no shift is better. Several shifts are
      optimised in turn until none gains, from 0 and from the shifts of the
      highest likelihood; the better result is returned. The time grows with
      examples times classes times shifts; a shift for each of many hundred
      classes is better fitted by likelihood.
    - "likelihood": the only maximum, by Newton's method. There each group's
      mean probability equals its share of the labels. Each group must have
      labels, and not all of them.

    With `kind="labels"`, for sigmoid heads, each entry of `classes` is a
    problem by itself, of two classes with the logits 0 and `z`: an accuracy
    fits the threshold of a label, a likelihood its mean probability.

    Args:
        model: A model that ends in logits, shape `(..., classes)`.
        dataset: `(x, y)` or `(x, y, sample_weight)` of arrays, or a
            `tf.data.Dataset`, `keras.utils.PyDataset` or other iterable of
            batches of them. Labels are class numbers or one-hot; with
            `kind="labels"`, 0 or 1 for each unit.
        classes: The classes to shift: a class number, a sequence of numbers and
            groups of numbers, or None for all.
        kind: What the logits are of: "classes" that exclude each other, or
            "labels" that do not, with a sigmoid for each.
        objective: "accuracy" or "likelihood".
        batch_size: Batch size for arrays.

    Returns:
        The shifts in nats, one for each entry of `classes`, as a float64 array.
        With `classes=None`, of classes that exclude each other, their mean is
        0.

    Raises:
        TypeError: If `model` is no Keras model.
        ValueError: If the model ends in probabilities, the data have no labels,
            a class does not exist or is named twice, `kind` or `objective` is
            neither of the two, or the likelihood has no maximum.

    Example:

    >>> layers = [keras.Input((4,)), keras.layers.Dense(3)]
    >>> model = keras.Sequential(layers)
    >>> held_out = (np.random.rand(30, 4), np.arange(30) % 3)
    >>> amount = kd.bias.fit_bias(model, held_out, [2])
    >>> shifted = kd.bias.shift_bias(model, [2], amount)
    """
    _kinds.one_of_both("kind", kind)
    _last_layer.ends_in_logits(model, kind, _kinds.BY_KIND)
    if objective not in _OBJECTIVES:
        raise ValueError(
            f"`objective` must be one of {_OBJECTIVES}. Received: objective="
            f"{objective!r}."
        )
    _validation.count("batch_size", batch_size)
    found = predictions(model, dataset, batch_size, kind)
    if found.labels is None:
        raise ValueError(
            "`dataset` must have labels. Received: inputs alone. Pass (x, y), "
            "or use kd.bias.match_class_frequencies, which needs no labels."
        )
    groups = _classes.groups_of(classes, found.logits.shape[-1])
    if kind == _kinds.LABELS:
        return _label_shifts.fitted(found, groups, objective)
    _classes.require_others(groups, found.logits.shape[-1])
    data = (found.logits, found.labels, found.weight)
    if objective == "likelihood":
        _require_both_outcomes(data, groups)
        shifts = _solvers.most_likely(*data, groups)
    else:
        shifts = _most_accurate(data, groups)
    return shifts - shifts.mean() if classes is None else shifts


def match_class_frequencies(
    model: keras.Model,
    inputs: Any,
    class_frequencies: Sequence[float],
    *,
    batch_size: int = 256,
) -> np.ndarray:
    """Finds the shifts that give the predictions known class frequencies.

    Formula: `b` such that `mean_i softmax(z_i + b) = class_frequencies`, the
    minimum of the convex `mean_i logsumexp(z_i + b) - class_frequencies . b`
    (derived), found by Newton's method. No labels are needed: this is how to
    learn the bias of a class that the transfer set omits, "much too low" in
    Hinton et al. 2015, section 3, from how frequent the class is.

    The frequencies must be those in these very inputs. A model that is sure of
    its answers needs large shifts for small differences, so that a few hundred
    inputs and rounded frequencies can do more harm than good.

    Args:
        model: A model that ends in logits of classes that exclude each other,
            shape `(..., classes)`.
        inputs: Inputs in which classes are as frequent as given: an array, a
            list or dict of them, or an iterable of batches. As everywhere in
            Keras, a tuple is `(x, y)` or `(x, y, sample_weight)`; labels are
            ignored, sample weights are not.
        class_frequencies: How frequent each class is, shape `(classes,)`, as
            frequencies or as counts; each above 0.
        batch_size: Batch size for arrays.

    Returns:
        The shifts in nats, shape `(classes,)`, of mean 0, as a float64 array,
        for `shift_bias(model, None, shifts)`.

    Raises:
        TypeError: If `model` is no Keras model.
        ValueError: If the model ends in probabilities, the frequencies are not
            positive or not one per class, or the shifts do not converge.

    Example:

    >>> layers = [keras.Input((4,)), keras.layers.Dense(3)]
    >>> model, x = keras.Sequential(layers), np.random.rand(30, 4)
    >>> amount = kd.bias.match_class_frequencies(model, x, [0.5, 0.3, 0.2])
    >>> shifted = kd.bias.shift_bias(model, None, amount)
    """
    _last_layer.ends_in_logits(model, _kinds.CLASSES)
    frequencies = _classes.frequencies_of(class_frequencies)
    _validation.count("batch_size", batch_size)
    found = predictions(model, inputs, batch_size)
    if len(frequencies) != found.logits.shape[-1]:
        raise ValueError(
            "`class_frequencies` must have one entry per class. Received: "
            f"{len(frequencies)} for {found.logits.shape[-1]} classes."
        )
    return _solvers.matching(found.logits, found.weight, frequencies)


def _most_accurate(data: _Data, groups: _solvers.Groups) -> np.ndarray:
    starts = [np.zeros(len(groups))]
    everything = _solvers.with_rest(groups, data[0].shape[-1])
    shares = _solvers.shares(*data[1:], everything)
    if len(groups) > 1 and np.all((0 < shares) & (shares < 1)):
        with contextlib.suppress(_solvers.NoConvergence):
            starts.append(_solvers.most_likely(*data, groups))
    results = [_solvers.most_accurate(*data, groups, start) for start in starts]
    return max(results, key=lambda result: result[1])[0]


def _require_both_outcomes(data: _Data, groups: _solvers.Groups) -> None:
    groups = _solvers.with_rest(groups, data[0].shape[-1])
    shares = _solvers.shares(*data[1:], groups)
    for group, share in zip(groups, shares, strict=True):
        if not 0 < share < 1:
            raise ValueError(
                "The likelihood has no maximum: each entry of `classes` must "
                "have some of the labels, and so must the other classes. "
                f"Received: {share:.0%} of the labels for the classes {group}, "
                f"whose best shift is {'minus ' if share == 0 else ''}"
                "infinity. Pass data with such labels, leave the classes out, "
                "or use objective='accuracy'."
            )
