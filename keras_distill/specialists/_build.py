"""Specialists: copies of the generalist with a head for a few classes."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import keras
import numpy as np

from keras_distill import _data
from keras_distill._keras.copies import copy_of
from keras_distill._keras.frozen import FrozenModel
from keras_distill.specialists import _dustbin, _heads
from keras_distill.specialists._checks import (
    check_generalist,
    class_set,
    share,
)

# As many examples as decide the dustbin's row.
_EXAMPLES = 4096


class Specialist(NamedTuple):
    """A model and the classes that it knows.

    Attributes:
        model: A keras.Model of the generalist's inputs. Its logits are those of
            `classes`, in this order, and of the dustbin; or those of all
            classes.
        classes: The numbers of the special classes.
        full_softmax: Whether the logits are those of all classes.
    """

    model: keras.Model
    classes: list[int]
    full_softmax: bool = False


def build_specialist(
    generalist: keras.Model,
    classes: Sequence[int],
    *,
    inputs: Any = None,
    full_softmax: bool = False,
    batch_size: int = 256,
) -> keras.Model:
    """Makes an untrained specialist of a generalist and a set of classes.

    Formula: `softmax(z_1, ..., z_k, z_dustbin)`, for `k` special classes and
    one dustbin class of all others; Hinton et al. 2015, section 5.1.

    The specialist has the generalist's architecture and weights, and shares
    nothing with it. The rows of its head are those of the special classes,
    copied, and one for the dustbin. The dustbin's mass should be that of the
    other classes, and its logit their log-sum-exp, which no row gives exactly
    unless there is only one other class:

    - with `inputs`, the row has the least mean KL divergence of the
      generalist's collapsed distribution from the specialist's on the first
      4,096 of them (a logistic regression; derived);
    - without, it is the mean of the other rows with the log of their number
      added to the bias, a lower bound of the log-sum-exp, which gives the
      dustbin too little wherever the generalist is sure of another class.

    Given that the class is special, both distributions are equal in any case.

    Args:
        generalist: A Functional or Sequential model that ends in logits, shape
            `(..., classes)`, from a Dense, EinsumDense or 1x1 convolution
            layer. `kd.as_logits` removes the softmax of a model of
            `keras.applications`.
        classes: Numbers of the special classes, each once; at least one class
            must be left for the dustbin.
        inputs: Examples as the generalist gets them: arrays, `(x, y)`, or an
            iterable of batches; labels are not used.
        full_softmax: Whether to keep the whole head, as section 6.1 of the
            paper proposes: the result is a copy of the generalist.
        batch_size: Batch size for arrays.

    Returns:
        A plain Functional model, not compiled, with `len(classes) + 1` logits,
        the dustbin's last; with `full_softmax`, one per class.

    Raises:
        TypeError: If `generalist` is no Keras model.
        ValueError: If its head is of another kind, it is subclassed or not
            built, or a class does not exist or is named twice.

    Example:

    >>> layers = [keras.Input((4,)), keras.layers.Dense(10)]
    >>> generalist = keras.Sequential(layers)
    >>> x = np.random.rand(100, 4)
    >>> model = kd.specialists.build_specialist(generalist, [2, 7], inputs=x)
    >>> model.output_shape
    (None, 3)
    """
    check_generalist(generalist)
    num_classes = generalist.outputs[0].shape[-1]
    special = class_set("classes", classes, num_classes)
    copy = copy_of("generalist", generalist)
    if full_softmax:
        return copy
    head = _heads.head_of(generalist)
    others = np.setdiff1d(np.arange(num_classes), special)
    if inputs is None or len(others) == 1:
        row = _dustbin.mean_row(head.kernel, head.bias, others)
    else:
        features = _features(copy, inputs, batch_size)
        row = _dustbin.fitted_row(head.kernel, head.bias, others, features)
    return _heads.with_head(
        copy,
        np.c_[head.kernel[:, special], row[0]],
        np.append(head.bias[special], row[1]),
    )


def dustbin_correction(
    natural_share: float, special_share: float = 0.5
) -> float:
    """What to add to a dustbin's logit after training on a mix.

    Formula: `log((1 - pi) / pi) - log((1 - s) / s)` for the natural share `pi`
    of the special classes and their share `s` of the training examples; the
    exact odds by Bayes' rule (derived). For `s = 1/2` it is `log((1 - pi) /
    pi)`. Hinton et al. 2015, section 5.1, shift by "the log of the proportion
    by which the specialist class is oversampled".

    Args:
        natural_share: The share of the special classes where the specialist
            will be used, above 0 and below 1.
        special_share: Their share of the examples that it was trained on.

    Returns:
        The shift in nats, for `kd.bias.shift_bias(specialist, [len(classes)],
        shift)`. A specialist with a full softmax gets the negative shift on
        each of its special classes.

    Raises:
        TypeError: If a share is no number.
        ValueError: If a share is not above 0 and below 1.

    Example:

    >>> round(kd.specialists.dustbin_correction(0.1), 3)
    2.197
    """
    pi = share("natural_share", natural_share)
    s = share("special_share", special_share)
    return math.log1p(-pi) - math.log(pi) - math.log1p(-s) + math.log(s)


def _features(model: keras.Model, inputs: Any, batch_size: int) -> np.ndarray:
    """What the head gets for the first examples, one row for each position."""
    forward = FrozenModel(_heads.features_of(model)).compiled()
    parts: list[np.ndarray] = []
    for x, _, _ in _data.batches(inputs, batch_size):
        found = keras.ops.convert_to_numpy(forward(x)).astype("float64")
        parts.append(found.reshape(-1, found.shape[-1]))
        if sum(map(len, parts)) >= _EXAMPLES:
            break
    if not parts:
        raise ValueError(
            "`inputs` must hold at least one batch. Received: no batch."
        )
    return np.concatenate(parts)[:_EXAMPLES]
