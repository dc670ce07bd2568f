"""What a loss or metric must do if it is to compare what it is said to.

Each rule is a set of outputs, and a statement on the values for them. No rule
knows a loss or metric by its name.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from keras_distill._compiled import _probes
from keras_distill._compiled._probes import Array, Call, Labels, Result, Shape

Values = list[Array]
MARGINS = (-2.0, -1.0, -0.5, 1.0, 2.0)
STEPS = 8


def _same(a: Values, b: Values) -> bool:
    return len(a) == len(b) and all(
        x.shape == y.shape
        and np.allclose(x, y, rtol=1e-3, atol=1e-3, equal_nan=True)
        for x, y in zip(a, b, strict=True)
    )


def _mean(values: Values) -> float:
    return float(np.mean([np.mean(v) for v in values]))


class Rule:
    """Outputs to try out, and what must hold of the values for them."""

    labels: Labels
    outputs: Sequence[Array]

    def __init__(self, shape: Shape) -> None:
        raise NotImplementedError

    def judge(self, calls: Sequence[Call]) -> list[bool | Exception]:
        """Whether it holds for each call, or why that cannot be said."""
        # The first outputs once more: values may depend on a state.
        outputs = [*self.outputs, self.outputs[0]]
        found = _probes.results(calls, self.labels, outputs)
        return [self._judged(result) for result in found]

    def _judged(self, result: Result) -> bool | Exception:
        if isinstance(result, Exception):
            return result
        *values, again = result
        if not _same(values[0], again):
            return ValueError("it gives another value each time")
        return self.holds(values)

    def holds(self, values: Sequence[Values]) -> bool:
        raise NotImplementedError


# Classes: a softmax is the same where a constant is added to all logits.


def _logits(shape: Shape, rng: np.random.Generator) -> Array:
    """From 1.5 down to -1.5, in steps that no dtype rounds.

    The largest ones are all different, and the largest alone is above 1.
    """
    ranks = np.argsort(rng.random(shape), axis=-1)
    step = max(1 / 8, 2.0 ** np.floor(np.log2(2 / max(1, shape[-1] - 1))))
    z = np.where(ranks == 0, 1.5, 0.75 - step * (ranks - 1))
    return np.maximum(z, -1.5).astype("float32")


def _constants(shape: Shape, rng: np.random.Generator) -> list[Array]:
    """Two for each distribution; the second makes all logits positive."""
    shape = (*shape[:-1], 1)
    # None turns the largest logit into 0, which F-scores leave out.
    first = np.resize([-2.5, 0.5, 1.25, -0.5, -2.0], np.prod(shape))
    second = rng.integers(8, 16, shape) / 4
    return [first.reshape(shape).astype("float32"), second.astype("float32")]


class OfClasses(Rule):
    def __init__(self, shape: Shape) -> None:
        rng = np.random.default_rng(0)
        z = _logits(shape, rng)
        z[-1] = z[-2]  # Two of one class.
        y = z.argmax(-1).astype("int32")
        y[0] = (y[0] + 1) % shape[-1]
        one_hot = y[..., None] == np.arange(shape[-1])
        self.labels = y, one_hot.astype("float32"), y[..., None]
        self.outputs = [z, *(z + c for c in _constants(shape, rng))]

    def holds(self, values: Sequence[Values]) -> bool:
        return all(_same(values[0], other) for other in values[1:])


# Labels: each logit on its own is for or against a label.


def _some_labels(shape: Shape, rng: np.random.Generator) -> Array:
    """A quarter of them, so that a label and none are not the same."""
    size = int(np.prod(shape))
    some = rng.permutation(size) < max(1, size // 4)
    return some.reshape(shape).astype("float32")


def _falls(means: Array) -> bool:
    """With the margin: strictly where labels are missed."""
    steps = np.diff(means)
    return bool(np.all(steps[:2] < -1e-3) and np.all(steps[2:] < 1e-3))


class OfLabels(Rule):
    """A loss falls with the margin, and is no softmax."""

    def __init__(self, shape: Shape) -> None:
        rng = np.random.default_rng(0)
        y = _some_labels(shape, rng)
        self.labels = (y,)
        towards = 2 * y - 1
        z = _logits(shape, rng)
        self.outputs = [z, *(z + c for c in _constants(shape, rng))]
        self.outputs += [m * towards for m in MARGINS]

    def holds(self, values: Sequence[Values]) -> bool:
        if all(_same(values[0], other) for other in values[1:3]):
            return False
        return _falls(np.array([_mean(v) for v in values[3:]]))


def _moves(a: Values, b: Values) -> bool:
    """Whether values differ, however flat a smooth metric is."""
    pairs = zip(a, b, strict=True)
    return any(np.max(abs(x - y), initial=0) > 1e-5 for x, y in pairs)


class OfHits(Rule):
    """A metric does not decide at 0.5, nor between 0 and 1 alone."""

    def __init__(self, shape: Shape) -> None:
        y = _some_labels(shape, np.random.default_rng(0))
        self.labels = (y,)
        towards = 2 * y - 1
        # Right by their order: all below 0, between 0 and 1, all above.
        self.outputs = [
            middle + width * towards
            for middle, width in ((-2.0, 1.0), (0.5, 0.25), (3.0, 1.0))
        ]
        level = np.ones(shape, "float32")
        self.outputs += [x * level for x in (-0.01, 0.01, 0.49, 0.51)]
        self.outputs += [m * towards for m in MARGINS]

    def holds(self, values: Sequence[Values]) -> bool:
        if _same(values[7], values[-1]):
            return False  # Right and wrong are the same to it.
        below, between, above, *levels = values[:7]
        at_zero, at_half = _moves(*levels[:2]), _moves(*levels[2:])
        if at_zero and at_half:  # It changes everywhere.
            means = np.array([_mean(v) for v in values[7:]])
            return _falls(means) or _falls(-means)
        if at_half:
            return False
        if at_zero:  # Then it sees signs alone.
            return _same(between, above)
        return _same(between, below) or _same(between, above)


# Values: nothing is closer to an output than the output itself.

_ENDS: dict[str | None, Callable[[Array], Array]] = {
    None: lambda z: z,
    "sigmoid": lambda z: 1 / (1 + np.exp(-z)),
    "softmax": lambda z: np.exp(z) / np.exp(z).sum(-1, keepdims=True),
}


class OfValues(Rule):
    """A loss is smallest where what it compares is equal.

    Args:
        shape: Of the outputs.
        activation: What the outputs end in.
    """

    def __init__(self, shape: Shape, activation: str | None = None) -> None:
        rng, end = np.random.default_rng(0), _ENDS[activation]
        shape = (16, *shape[1:])
        v = rng.normal(size=shape)
        if activation is None:
            v[::2] = 2 + abs(v[::2])  # Far from any probability.
        self.labels = (end(v).astype("float32"),)
        steps = rng.normal(scale=0.3, size=(STEPS, *shape))
        # Of half the rows at a time, there and back.
        steps[::2, ::2] = steps[1::2, 1::2] = 0
        moved = [v, *(v + d for d in steps), *(v - d for d in steps)]
        self.outputs = [end(z).astype("float32") for z in moved]

    def holds(self, values: Sequence[Values]) -> bool:
        equal, *others = (_mean(v) for v in values)
        slack = 1e-5 * max(1.0, abs(equal))
        return bool(np.all(np.array(others) > equal + slack))


def holds(rule: Rule, call: Any) -> bool:
    """Whether a rule is known to hold for a call."""
    return rule.judge([call])[0] is True
