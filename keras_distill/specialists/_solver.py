"""The combined distribution where several dustbins are in play.

Classes with the same memberships have one common ratio `q_j / c_j`, where `c_j`
is the mass that the generalist and the active specialists give to class `j` by
name. So the unknowns are the masses `q_r` of such cells `r`. With `Q_m` the
mass outside the special classes of specialist `m`, which gives its dustbin
`d_m`, the optimum of Hinton et al. 2015, eq. (5), is where (derived: its
gradient set to 0)

    q_r s_r = C_r,   Q_m l_m = d_m,   s_r = mu - sum of l_m over r outside m

and all `q_r` sum to 1: the conditions of an interior point method with the
targets `C` and `d` in the place of a falling barrier. They are solved by its
Newton steps on `(q, s, l)`, at most so long that all stay positive. Eliminating
`q` leaves a symmetric system in `l` and one more unknown: `s` is written as
`s_0 + sum of l_m over r inside m`, a sum of positive terms in most problems,
where `mu - ...` would cancel.
"""

from typing import Any, NamedTuple

import keras
from keras import ops

from keras_distill._keras.jax import double_precision

Tensor = Any

_STEPS = 60
_LEAST = 1e-20  # Masses below it count as equal to it.
_TO_THE_EDGE = 0.95


class Problem(NamedTuple):
    """One row per image.

    Attributes:
        cells: `C`, shape `(batch, cells)`.
        dustbins: `d`, shape `(batch, slots)`.
        on: Which slots hold a specialist, 1 or 0, shape `(batch, slots)`.
        inside: Whether a cell is special, 1 or 0, shape `(batch, slots,
            cells)`; 0 for a slot that is not on.
    """

    cells: Tensor
    dustbins: Tensor
    on: Tensor
    inside: Tensor


class _Point(NamedTuple):
    q: Tensor
    s_0: Tensor  # (batch, 1)
    l: Tensor  # noqa: E741
    best: Tensor
    error: Tensor  # of `best`, (batch,)


def solve(problem: Problem) -> Tensor:
    """The masses `q` of the cells, shape `(batch, cells)`."""
    with double_precision() as dtype:
        return _solve(Problem(*(ops.cast(part, dtype) for part in problem)))


def _solve(problem: Problem) -> Tensor:
    problem = problem._replace(
        cells=_where(problem.cells > _LEAST, problem.cells, _LEAST),
        dustbins=problem.on
        * _where(problem.dustbins > _LEAST, problem.dustbins, _LEAST),
    )
    tolerance = _tolerance(problem.cells)
    found = ops.while_loop(
        lambda *point: ops.any(_Point(*point).error > tolerance),
        lambda *point: tuple(_next(problem, _Point(*point))),
        tuple(_start(problem)),
        maximum_iterations=_STEPS,
    )
    q = _Point(*found).best
    return q / ops.sum(q, axis=1, keepdims=True)


def _where(mask: Tensor, x: Tensor, value: float) -> Tensor:
    # With a Python float, float64 becomes float32 on torch; so it does in
    # ops.maximum and ops.minimum.
    return ops.where(mask, x, ops.full_like(x, value))


def _epsilon(x: Tensor) -> float:
    double = keras.backend.standardize_dtype(x.dtype) == "float64"
    return 2.0**-52 if double else 2.0**-23


def _tolerance(x: Tensor) -> float:
    return 4 * _epsilon(x)


def _start(problem: Problem) -> _Point:
    cells, d, on, inside = problem
    # One step of EM from the share of each cell in what is known by name.
    q = cells / ops.sum(cells, axis=1, keepdims=True)
    outside = _outside(problem, q)
    spread = d / _where(on > 0, outside, 1.0)
    grown = ops.einsum("bk,bkr->br", spread, on[..., None] - inside)
    q = cells + q * grown
    q = q / ops.sum(q, axis=1, keepdims=True)
    error = ops.full_like(q[:, 0], 1e30)
    s_0 = ops.sum(cells, axis=1, keepdims=True)
    return _Point(q, s_0, d, q, error)


def _outside(problem: Problem, q: Tensor) -> Tensor:
    """`Q` of each slot; a sum of positive terms."""
    mask = problem.on[..., None] - problem.inside
    return ops.einsum("bkr,br->bk", mask, q)


def _next(problem: Problem, point: _Point) -> _Point:
    cells, d, on, inside = problem
    q, l, s_0 = point.q, point.l, point.s_0  # noqa: E741
    s = s_0 + ops.einsum("bk,bkr->br", l, inside)
    s = ops.where(s < cells, cells, s)  # No mass is above 1.
    outside = _outside(problem, q)
    missing = d - l * outside
    rest = 1 - ops.sum(q, axis=1, keepdims=True)
    ds_0, dl = _direction(problem, point, s, outside, rest)
    ds = ds_0 + ops.einsum("bk,bkr->br", dl, inside)
    dq = (cells - q * s - q * ds) / s
    room = ops.stack([_room(s, ds), _room(q, dq), _room(l, dl)])
    length = _TO_THE_EDGE * ops.min(room, axis=0)
    length = _where(length < 1, length, 1.0)[:, None]
    error = _error(cells / s - q, missing, rest)
    better = error < point.error
    return _Point(
        q + length * dq,
        s_0 + length * ds_0,
        l + length * dl,
        ops.where(better[:, None], q, point.best),
        ops.where(better, error, point.error),
    )


def _error(*residuals: Tensor) -> Tensor:
    each = [ops.max(ops.abs(part), axis=1) for part in residuals]
    return ops.max(ops.stack(each), axis=0)


def _direction(
    problem: Problem, point: _Point, s: Tensor, outside: Tensor, rest: Tensor
) -> tuple[Tensor, Tensor]:
    """The Newton step of `s_0` and `l`."""
    cells, d, on, inside = problem
    safe = _where(on > 0, point.l, 1.0)
    ratio = point.q / s
    surplus = cells / s - point.q
    own = _where(on > 0, outside / safe, 1.0)
    across = ops.einsum("bkr,br->bk", inside, ratio)
    # Not ops.matmul, which gives float32 on torch.
    pairs = ops.einsum("bkr,bjr->bkj", inside * ratio[:, None], inside)
    pairs = pairs + own[..., None] * ops.eye(on.shape[1], dtype=own.dtype)
    corner = ops.sum(ratio, axis=1, keepdims=True)[..., None]
    top = ops.concatenate([corner, across[:, None]], axis=2)
    bottom = ops.concatenate([across[..., None], pairs], axis=2)
    matrix = ops.concatenate([top, bottom], axis=1)
    first = ops.sum(surplus, axis=1, keepdims=True) - rest
    others = (
        d / safe - outside - rest + ops.einsum("bkr,br->bk", inside, surplus)
    )
    side = ops.concatenate([first, _where(on > 0, others, 0.0)], axis=1)
    # Rows that are done would run on until their systems are singular.
    busy = (point.error > _tolerance(cells))[:, None]
    eye = ops.eye(on.shape[1] + 1, dtype=own.dtype)
    matrix = ops.where(busy[..., None], matrix, eye)
    found = _solve_scaled(matrix, _where(busy, side, 0.0))
    return found[:, :1], _where(on > 0, found[:, 1:], 0.0)


def _solve_scaled(matrix: Tensor, side: Tensor) -> Tensor:
    """Solves symmetric positive systems, scaled to a diagonal of ones."""
    size = matrix.shape[-1]
    eye = ops.eye(size, dtype=matrix.dtype)
    scale = 1 / ops.sqrt(ops.sum(matrix * eye, axis=2))
    scaled = matrix * scale[..., None] * scale[:, None]
    scaled = scaled + 4 * size * _epsilon(matrix) * eye
    return scale * ops.solve(scaled, (side * scale)[..., None])[..., 0]


def _room(x: Tensor, dx: Tensor) -> Tensor:
    """How many steps `dx` until one of the positive `x` is 0."""
    falling = dx < 0
    steps = _where(falling, -x / _where(falling, dx, -1.0), 1e30)
    return ops.min(steps, axis=1)
