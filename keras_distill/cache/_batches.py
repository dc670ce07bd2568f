"""What a build and `attach` need of a dataset, whatever its kind.

A source has batches of one size, except the last, so that example `i` is always
row `i % batch_size` of batch `i // batch_size`.
"""

import sys
from collections.abc import Callable, Iterator
from typing import Any

import keras

from keras_distill._attached import WithTeacherLogits

# Logits for a batch of inputs, from the number of its first example.
Lookup = Callable[[int, Any], Any]


class Source:
    """A dataset that is read in batches, and joined with logits.

    Attributes:
        batch_size: Examples in each batch but the last.
        batches: Number of batches.
        examples: Number of examples, None where the batches were there
            before and the last one may be smaller.
    """

    batch_size: int
    batches: int
    examples: int | None = None

    def inputs(self, start: int, stop: int) -> Iterator[Any]:
        """The inputs of batches `start` to `stop`, as NumPy arrays."""
        raise NotImplementedError

    def attach(self, lookup: Lookup, like: Any) -> Any:
        """The dataset, with `WithTeacherLogits` in the place of its inputs.

        Args:
            lookup: Gives the logits of a batch.
            like: Logits of a batch, for their structure and dtypes.
        """
        raise NotImplementedError

    def first(self) -> Any:
        return next(self.inputs(0, 1))


def join(batch: Any, start: int, lookup: Lookup) -> tuple:
    """A batch from example `start` on, with the logits of its inputs."""
    x, *rest = batch if isinstance(batch, tuple | list) else (batch,)
    return (WithTeacherLogits(x, lookup(start, x)), *rest)


def inputs_of(batch: Any) -> Any:
    """The inputs of a batch, or of an example, without labels and weights."""
    return keras.utils.unpack_x_y_sample_weight(batch)[0]


def matches(shapes: list | None, found: list[tuple]) -> bool:
    """Whether shapes of a dataset's elements can be those of one example."""
    if shapes is None or len(shapes) != len(found):
        return False
    return all(
        len(a) == len(b)
        and all(
            m is None or n is None or m == n for m, n in zip(a, b, strict=True)
        )
        for a, b in zip(shapes, found, strict=True)
    )


def finite(count: int | None, kind: str) -> int:
    """The number of elements of a dataset that has an end, and any."""
    if count is None or count >= sys.maxsize:
        raise ValueError(
            f"`dataset` must end. Received: a {kind} that repeats for ever. "
            "Build and attach first, and repeat afterwards."
        )
    if count == 0:
        raise ValueError(
            "`dataset` must hold at least one batch. Received: an empty "
            f"{kind}."
        )
    return count
