"""How much an example weighs, by what its teacher says: for `example_weight`.

    kd.losses.TTM(temperature=4.0, example_weight=kd.example_weights.entropy)

`kd.losses.WTTM(temperature)` is TTM with the power sum. The weights are those
of each example, not divided by their mean over a batch, which would be another
one on each device: a mean far from 1 is made up for by `soft_loss_weight`.

A weight of one's own is a function of `(teacher_logits, temperature)` that
gives shape `teacher_logits.shape[:-1]`. One that has a third argument `labels`
gets those of the data. It is registered, so that a loss that has it can be
loaded:

>>> @keras.saving.register_keras_serializable()
... def margin(teacher_logits, temperature):
...     p = kd.transforms.power_transform(teacher_logits, temperature)
...     best_two, _ = keras.ops.top_k(p, 2)
...     return best_two[..., 0] - best_two[..., 1]
>>> loss = kd.losses.TTM(temperature=2.0, example_weight=margin)
>>> round(float(loss([[2.0, 0.0]], [[0.0, 0.0]])), 4)
0.0513
"""

from typing import Any

from keras import ops

from keras_distill import transforms
from keras_distill._label_masks import label_mask
from keras_distill._registration import register
from keras_distill.transforms import power_sum

__all__ = ["confidence", "correctness", "entropy", "power_sum"]

Tensor = Any


@register
def entropy(teacher_logits: Tensor, temperature: float) -> Tensor:
    """Shannon entropy of the tempered teacher: the less sure, the more.

    Formula: `H(p_T) = -sum_i p_i log p_i` with `p_T = softmax(v/T)`; the weight
    of an example in which the teacher says more than the label (ours; compare
    the power sum of Zheng and Yang 2024, eq. (22)).

    Args:
        teacher_logits: Unnormalised logits `v`, shape `(..., classes)`.
        temperature: `T`, greater than 0; the value of a scalar tensor is not
            checked.

    Returns:
        Nats between 0 and `log(classes)`, shape `(...)`, at least float32.

    Raises:
        TypeError: If `temperature` is no real number.
        ValueError: If `temperature` is not finite and greater than 0.

    Example:

    >>> round(float(kd.example_weights.entropy([1.0, 1.0], temperature=4.0)), 4)
    0.6931
    """
    log_p = transforms.log_probabilities(teacher_logits, temperature)
    return -ops.sum(ops.exp(log_p) * log_p, axis=-1)


@register
def confidence(teacher_logits: Tensor, temperature: float) -> Tensor:
    """The tempered teacher's largest probability: the surer, the more.

    Formula: `max_i p_i` with `p_T = softmax(v/T)`; the opposite of `power_sum`
    and `entropy`, for teachers whose doubts are noise (ours).

    Args:
        teacher_logits: Unnormalised logits `v`, shape `(..., classes)`.
        temperature: `T`, greater than 0; the value of a scalar tensor is not
            checked.

    Returns:
        Numbers between `1/classes` and 1, shape `(...)`, at least float32.

    Raises:
        TypeError: If `temperature` is no real number.
        ValueError: If `temperature` is not finite and greater than 0.

    Example:

    >>> float(kd.example_weights.confidence([1.0, 1.0], temperature=4.0))
    0.5
    """
    log_p = transforms.log_probabilities(teacher_logits, temperature)
    return ops.exp(ops.max(log_p, axis=-1))


@register
def correctness(
    teacher_logits: Tensor, temperature: float, labels: Tensor
) -> Tensor:
    """1 where the teacher's most probable class is the label's, 0 elsewhere.

    Formula: `[argmax_i v_i = y]`: what the teacher gets wrong is left to the
    labels (ours). A loss that has this weight uses labels: called on its own,
    it gets `(teacher_logits, labels)` first.

    Args:
        teacher_logits: Unnormalised logits `v`, shape `(..., classes)`.
        temperature: Not used; it changes no answer.
        labels: Class numbers `y`, shape `(...)` or `(..., 1)`, or one-hot,
            shape `(..., classes)`. The weight of one that is no class, as -1,
            is 0.

    Returns:
        0 or 1, shape `(...)`, at least float32.

    Raises:
        ValueError: If the shapes do not fit together.

    Example:

    >>> teacher_logits, labels = [[2.0, 0.0], [2.0, 0.0]], [0, 1]
    >>> right = kd.example_weights.correctness(teacher_logits, 4.0, labels)
    >>> [float(x) for x in right]
    [1.0, 0.0]
    """
    logits = transforms.at_least_float32(teacher_logits)
    best = ops.one_hot(ops.argmax(logits, axis=-1), ops.shape(logits)[-1])
    of_label = ops.cast(label_mask(labels, logits), logits.dtype)
    return ops.sum(ops.cast(best, logits.dtype) * of_label, axis=-1)
