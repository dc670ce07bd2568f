"""Shifts of groups of logits: NumPy in float64, no model.

A group is a list of classes whose logits get one common shift. Its probability
after a shift is that of one class whose logit is the group's log-sum-exp, so
each problem on groups is one on classes.
"""

import numpy as np

from keras_distill._numpy import logsumexp, newton, softmax

Array = np.ndarray
Groups = list[list[int]]

_TOLERANCE, _ROUNDING = 1e-9, 1e-15  # of a frequency, and of their sum
_STEPS = 200


class NoConvergence(ValueError):
    """The shifts for given frequencies were not found."""


def spread(shifts: Array, groups: Groups, num_classes: int) -> Array:
    """One shift per class, 0 for a class of no group."""
    result = np.zeros(num_classes)
    for group, shift in zip(groups, shifts, strict=True):
        result[group] = shift
    return result


def with_rest(groups: Groups, num_classes: int) -> Groups:
    """The groups, and if there are any, the classes of no group as one."""
    rest = sorted(set(range(num_classes)).difference(*groups))
    return [*groups, rest] if rest else groups


def shares(labels: Array, weight: Array, groups: Groups) -> Array:
    """The share of each group in the labels."""
    each = [weight[np.isin(labels, group)].sum() for group in groups]
    return np.array(each) / weight.sum()


def most_likely(
    logits: Array, labels: Array, weight: Array, groups: Groups
) -> Array:
    """The shifts of the highest likelihood, one per group.

    The derivative of the log-likelihood to a group's shift is its share of the
    labels less its mean probability. Both are equal at the optimum.
    """
    all_groups = with_rest(groups, logits.shape[-1])
    frequencies = shares(labels, weight, all_groups)
    joined = [logsumexp(logits[:, group]) for group in all_groups]
    shifts = matching(np.stack(joined, 1), weight, frequencies)
    return shifts if all_groups is groups else shifts[:-1] - shifts[-1]


def matching(logits: Array, weight: Array, frequencies: Array) -> Array:
    """Shifts of mean 0 that give the mean probabilities `frequencies`.

    They minimise the convex `mean_i logsumexp(z_i + b) - frequencies . b`, by
    Newton's method with a line search.
    """
    weight = weight / weight.sum()
    tolerance = _TOLERANCE * frequencies + _ROUNDING

    def value(shifts: Array) -> float:
        return weight @ logsumexp(logits + shifts) - frequencies @ shifts

    def derivatives(shifts: Array) -> tuple[Array, Array]:
        p = softmax(logits + shifts)
        gradient = weight @ p - frequencies
        return gradient, _hessian(p, weight, gradient)

    start = np.zeros(logits.shape[-1])
    shifts, gradient = newton(value, derivatives, start, tolerance, _STEPS)
    if np.all(np.abs(gradient) <= tolerance):
        return shifts - shifts.mean()
    raise NoConvergence(
        "The shifts of the biases did not converge: after "
        f"{_STEPS} steps a class's mean probability is still "
        f"{np.max(np.abs(gradient)):.1e} from the one asked for. The logits "
        "may be too far apart for so few examples; pass more examples, or "
        "frequencies nearer to the model's own."
    )


def _hessian(p: Array, weight: Array, gradient: Array) -> Array:
    mean = weight @ p
    hessian = np.diag(mean) - (p * weight[:, None]).T @ p
    # A shift of all classes changes nothing. Where probabilities are all 0 or
    # 1 the Hessian vanishes, and the step follows the gradient.
    hessian += np.full_like(hessian, mean.max() / len(mean))
    hessian += np.diag(np.full(len(mean), 1e-6 * np.max(np.abs(gradient))))
    return hessian


def most_accurate(
    logits: Array, labels: Array, weight: Array, groups: Groups, start: Array
) -> tuple[Array, float]:
    """Shifts of locally best accuracy, and the weight of the right answers.

    Each group in turn gets the best shift that there is for it, until no group
    can gain. With one group that is the best shift.
    """
    shifts, best = start.astype(float), -np.inf
    while True:
        before = best
        for number, group in enumerate(groups):
            others = spread(shifts, groups, logits.shape[-1])
            others[group] = 0
            shifts[number], best = _best_shift(
                logits + others, labels, weight, group, shifts[number]
            )
        if best <= before + 1e-9 * weight.sum():
            return shifts, best


def _best_shift(
    logits: Array, labels: Array, weight: Array, group: list[int], now: float
) -> tuple[float, float]:
    """The shift of one group with the most right answers, and their weight.

    An example's answer changes where the best class of the group overtakes the
    best of the others, so the accuracy is constant between these places. Of
    the best intervals the widest is taken, and its middle.
    """
    inside = np.isin(np.arange(logits.shape[-1]), group)
    group_best, group_right = _best_of(logits, labels, inside)
    other_best, other_right = _best_of(logits, labels, ~inside)
    gain = weight * (group_right.astype(float) - other_right)
    matters = gain != 0
    places, index = np.unique(
        (other_best - group_best)[matters], return_inverse=True
    )
    gains = np.bincount(index, gain[matters], len(places))
    places, gains = places[gains != 0], gains[gains != 0]
    right = weight @ other_right + np.concatenate([[0.0], np.cumsum(gains)])
    best = right >= right.max() - 1e-9 * weight.sum()
    moved = logits + now * inside
    right_now = weight @ (moved.argmax(axis=-1) == labels)
    if right_now >= right.max() - 1e-9 * weight.sum():
        return now, float(right_now)
    ends = np.concatenate([[-np.inf], places, [np.inf]])
    widest = np.argmax(np.where(best, np.diff(ends), -1))
    return _middle(ends[widest], ends[widest + 1]), float(right.max())


def _best_of(logits: Array, labels: Array, chosen: Array) -> tuple:
    """The best logit among some classes, and whether its class is right."""
    classes = np.flatnonzero(chosen)
    best = classes[np.argmax(logits[:, classes], axis=-1)]
    rows = np.arange(len(logits))
    return logits[rows, best], best == labels


def _middle(low: float, high: float) -> float:
    """The middle of an interval; 1 from the end of one without a middle."""
    if np.isinf(low):
        return high - 1
    return low + 1 if np.isinf(high) else (low + high) / 2
