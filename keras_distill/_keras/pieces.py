"""Rows of large arrays, computed some at a time, on JAX.

A gradient keeps float32 copies of what it is the gradient of, and how many is
for XLA to choose. Of a piece they are small; the gradient of a piece computes
it again, and what one piece needs is gone before the next. On a CPU, where a
piece fits into the cache, it is faster as well.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

from keras_distill._keras import layout

Tensor = Any
_MOST = 16  # Of what a loss needs, a sixteenth is little beside its logits.
# Elements of a piece at least: what a core's cache holds of a few copies, and
# what keeps another device busy.
_SMALLEST_ON_CPU, _SMALLEST = 2**19, 2**22


def rows(function: Callable[..., Tensor], arrays: Sequence[Tensor]) -> Tensor:
    """`function(*arrays)`, of which no gradient keeps what it computed.

    Args:
        function: Of arrays of some rows gives a value for each.
        arrays: The first has shape `(..., columns)`, the others `(..., any)`
            or `(...)`.
    """
    lead = arrays[0].shape[:-1]
    axis, parts = _division(lead, arrays[0].shape[-1])
    alike = all(array.shape[: len(lead)] == lead for array in arrays)
    if parts == 1 or not alike:
        return whole(function, arrays)
    return _by_rows(function, arrays, _Pieces(axis, parts))


def whole(function: Callable[..., Tensor], arrays: Sequence[Tensor]) -> Tensor:
    """The same of all rows at once."""
    import jax

    return jax.checkpoint(function)(*arrays)


def _division(lead: tuple[int, ...], columns: int) -> tuple[int, int]:
    """Which axis of rows to divide, and into how many parts."""
    import jax

    on_cpu = jax.default_backend() == "cpu"
    smallest = _SMALLEST_ON_CPU if on_cpu else _SMALLEST
    wanted = min(_MOST, math.prod(lead) * columns // smallest)
    # Each device is to have its share of each piece.
    shares = [layout.parts_of_batch(), *[1] * len(lead)]
    of_axes = [
        (_divisor(size // share if size % share == 0 else 1, wanted), axis)
        for axis, (size, share) in enumerate(zip(lead, shares, strict=False))
    ]
    parts, axis = max(of_axes, default=(1, 0))
    return axis, parts


def _divisor(size: int, most: int) -> int:
    return next(n for n in range(max(1, most), 0, -1) if size % n == 0)


class _Pieces:
    """The pieces of arrays, along an axis of their rows.

    They take turns at the rows, so that rows which lie on several devices stay
    where they are.
    """

    def __init__(self, axis: int, parts: int) -> None:
        self._axis, self._parts = axis, parts

    def divide(self, array: Tensor) -> Tensor:
        """With a new axis, after that of the rows: a place for each piece."""
        before, after = array.shape[: self._axis], array.shape[self._axis + 1 :]
        split = array.shape[self._axis] // self._parts, self._parts
        return array.reshape(*before, *split, *after)

    def one(self, divided: Tensor, i: Any) -> Tensor:
        from jax import lax

        axis = self._axis + 1
        return lax.dynamic_index_in_dim(divided, i, axis, keepdims=False)

    def put(self, divided: Tensor, piece: Tensor, i: Any) -> Tensor:
        from jax import lax

        axis = self._axis + 1
        return lax.dynamic_update_index_in_dim(divided, piece, i, axis)

    def over_all(self, body: Callable, divided: list, made: Any) -> Any:
        """`made = body(i, pieces, made)` for each `i`."""
        from jax import lax

        def step(i: Any, carried: tuple) -> tuple:
            # Else XLA takes what is the same in all steps out of the loop:
            # the whole in float32.
            arrays, made = lax.optimization_barrier(carried[0]), carried[1]
            return arrays, body(i, [self.one(a, i) for a in arrays], made)

        return lax.fori_loop(0, self._parts, step, (divided, made))[1]


def _by_rows(function: Callable, arrays: Sequence, pieces: _Pieces) -> Tensor:
    """The values of all pieces, with a gradient that computes them again."""
    import jax

    divided = [pieces.divide(array) for array in arrays]
    examples = jax.eval_shape(
        lambda divided: [pieces.one(x, 0) for x in divided], divided
    )
    # Such as a temperature, which may have a gradient too.
    function, numbers = jax.closure_convert(function, *examples)

    @jax.custom_vjp
    def values(divided: list, numbers: list) -> Tensor:
        return _values(function, divided, numbers, pieces)

    def forward(divided: list, numbers: list) -> tuple:
        return values(divided, numbers), (divided, numbers)

    def backward(kept: tuple, slopes: Tensor) -> tuple:
        divided, numbers = kept
        return _gradients(function, divided, numbers, slopes, pieces)

    values.defvjp(forward, backward)
    return values(divided, list(numbers)).reshape(arrays[0].shape[:-1])


def _values(
    function: Callable, divided: list, numbers: list, pieces: _Pieces
) -> Tensor:
    import jax
    from jax import numpy

    def body(i: Any, parts: list, made: Any) -> Any:
        return pieces.put(made, function(*parts, *numbers), i)

    def first(divided: list, numbers: list) -> Tensor:
        return function(*(pieces.one(x, 0) for x in divided), *numbers)

    dtype = jax.eval_shape(first, divided, numbers).dtype
    none = numpy.zeros(divided[0].shape[:-1], dtype)
    return pieces.over_all(body, divided, none)


def _gradients(
    function: Callable,
    divided: list,
    numbers: list,
    slopes: Tensor,
    pieces: _Pieces,
) -> tuple:
    """Of the arrays, None for integers, and of the numbers."""
    import jax
    from jax import numpy

    floats = [numpy.issubdtype(x.dtype, numpy.floating) for x in divided]

    def body(i: Any, parts: list, made: tuple) -> tuple:
        def of_floats(chosen: list, numbers: list) -> Tensor:
            return function(*_merged(floats, chosen, parts), *numbers)

        _, back = jax.vjp(of_floats, _chosen(floats, parts), numbers)
        found, of_numbers = back(pieces.one(slopes, i))
        whole = [
            pieces.put(into, part, i)
            for into, part in zip(made[0], found, strict=True)
        ]
        return whole, jax.tree.map(numpy.add, made[1], of_numbers)

    none = jax.tree.map(numpy.zeros_like, (_chosen(floats, divided), numbers))
    whole, sums = pieces.over_all(body, divided, none)
    return _merged(floats, whole, [None] * len(divided)), sums


def _chosen(which: list[bool], values: list) -> list:
    return [v for chosen, v in zip(which, values, strict=True) if chosen]


def _merged(which: list[bool], chosen: list, others: list) -> list:
    """The chosen ones in their places among the others."""
    given = iter(chosen)
    return [
        next(given) if is_chosen else other
        for is_chosen, other in zip(which, others, strict=True)
    ]
