"""One distribution from a generalist's and its specialists': eq. (5)."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from keras import ops

from keras_distill import _validation, transforms
from keras_distill.specialists import _solver
from keras_distill.specialists._checks import class_set

Tensor = Any


def combine_logits(
    generalist_logits: Tensor,
    specialist_logits: Sequence[Tensor],
    class_sets: Sequence[Sequence[int]],
    n: int = 1,
) -> Tensor:
    """The logits of the distribution that agrees best with all active models.

    Formula: the `q` over all classes that minimises `KL(p_g, q) + sum_m
    KL(p_m, q)` over the active specialists `m`, where the `q` of a dustbin is
    the sum of `q` over its classes; Hinton et al. 2015, eq. (5). A specialist
    is active if one of the `n` most probable classes of the generalist is among
    its special classes.

    The problem is convex. With one active specialist its solution is exact:
    `q_j = (p_g_j + p_m_j) / 2` on the special classes, and the rest of the mass
    in the generalist's proportions outside (derived). With more, a Newton
    iteration on all images at once takes 3 to 10 steps, at most 60. It runs in
    float64 whatever the models' precision, and what is left is the rounding of
    float32 logits: within 1e-6 of the exact masses, and 4e-6 for logits that
    are hundreds of nats apart. On TPUs, which have no such solver, it runs in
    float32, and is within 2e-5 (tried on CPUs).

    Args:
        generalist_logits: Unnormalised logits, shape `(batch, classes)`.
        specialist_logits: For each specialist, unnormalised logits of shape
            `(batch, len(class_set) + 1)`, the dustbin's last, or `(batch,
            classes)` for one with a full softmax. Where these are the same
            shape, the last logit is taken for the dustbin's.
        class_sets: The special classes of each specialist, in the order of its
            logits.
        n: How many of the generalist's most probable classes choose the active
            specialists.

    Returns:
        Normalised logits `log q`, shape `(batch, classes)`, at least float32.

    Raises:
        ValueError: If logits and class sets do not fit together.

    Example:

    >>> generalist = np.log([[0.7, 0.2, 0.1]])
    >>> specialist = np.log([[0.5, 0.4, 0.1]])  # classes 0 and 1, the rest
    >>> log_q = kd.specialists.combine_logits(
    ...     generalist, [specialist], [[0, 1]]
    ... )
    >>> q = np.exp(keras.ops.convert_to_numpy(log_q), dtype="float64")
    >>> q.round(2).tolist()
    [[0.6, 0.3, 0.1]]
    """
    _check_logits(generalist_logits, specialist_logits)
    log_g = transforms.log_probabilities(generalist_logits)
    widths = [logits.shape[-1] for logits in specialist_logits]
    combination = Combination(log_g.shape[-1], class_sets, widths, n)
    active = combination.active(log_g)
    log_p = [transforms.log_probabilities(z) for z in specialist_logits]
    return combination(log_g, log_p, active)


class Combination:
    """Solves eq. (5) for given class sets; all tables are made once."""

    def __init__(
        self,
        num_classes: int,
        class_sets: Sequence[Sequence[int]],
        widths: Sequence[int],
        n: int,
        full_softmax: Sequence[bool] | None = None,
    ) -> None:
        sets = [
            class_set(f"class_sets[{m}]", classes, num_classes)
            for m, classes in enumerate(class_sets)
        ]
        _validation.count("n", n)
        if n > num_classes:
            raise ValueError(
                f"`n` must be at most the number of classes, {num_classes}. "
                f"Received: n={n}."
            )
        self.n = int(n)
        self.full = _full(sets, widths, num_classes, full_softmax)
        self.members = np.zeros((len(sets), num_classes), "float32")
        for row, classes in zip(self.members, sets, strict=True):
            row[classes] = 1
        self._with_dustbin = np.flatnonzero(~np.array(self.full, bool))
        self._places = _places(sets, self.full, num_classes)
        self._cell, self._inside = _cells(self.members[self._with_dustbin])
        self._slots = _most_active(self.members[self._with_dustbin], self.n)

    def active(self, log_g: Tensor) -> Tensor:
        """Which specialists are active, booleans of shape `(batch, models)`."""
        _, top = ops.top_k(log_g, self.n)
        chosen = ops.take(ops.convert_to_tensor(self.members.T), top, axis=0)
        return ops.max(chosen, axis=1) > 0

    def __call__(
        self, log_g: Tensor, log_p: Sequence[Tensor], active: Tensor
    ) -> Tensor:
        """`log q` from log-probabilities; those of inactive models are free."""
        named = self._named(log_g, log_p, active)
        if not len(self._with_dustbin):
            return transforms.log_probabilities(named)
        dustbins = [log_p[int(m)][:, -1] for m in self._with_dustbin]
        log_d = ops.cast(ops.stack(dustbins, axis=1), named.dtype)
        active = ops.take(active, self._with_dustbin, axis=1)
        on, slots = ops.top_k(ops.cast(active, named.dtype), self._slots)
        log_d = ops.take_along_axis(log_d, slots, axis=1)
        one = self._closed(named, on[:, 0], log_d[:, 0], slots[:, 0])
        if self._slots == 1:
            return one
        several = ops.sum(on, axis=1) > 1
        many = ops.cond(
            ops.any(several),
            lambda: self._solved(named, on, log_d, slots),
            lambda: one,
        )
        return ops.where(several[:, None], many, one)

    def _named(
        self, log_g: Tensor, log_p: Sequence[Tensor], active: Tensor
    ) -> Tensor:
        """Log of the mass that the active models give each class by name."""
        columns = [log_g]
        for m, part in enumerate(log_p):
            part = ops.cast(part, log_g.dtype)
            part = part if self.full[m] else part[:, :-1]
            columns.append(ops.where(active[:, m, None], part, -np.inf))
        columns.append(ops.full_like(log_g[:, :1], -np.inf))
        joined = ops.concatenate(columns, axis=1)
        return ops.logsumexp(ops.take(joined, self._places, axis=1), axis=2)

    def _closed(
        self, named: Tensor, on: Tensor, log_d: Tensor, slot: Tensor
    ) -> Tensor:
        """The exact solution for none or one active dustbin."""
        inside = ops.take(
            self.members[self._with_dustbin], slot, axis=0
        ) * ops.cast(on[:, None], "float32")
        outside = (inside == 0) & (on[:, None] > 0)
        # Without an active dustbin nothing is outside, and this is not used.
        masked = ops.where(outside, named, -1e30)
        log_rest = ops.logsumexp(masked, axis=1, keepdims=True)
        # First the share, then the mass: one factor would lose digits.
        share = named - log_rest
        grown = share + ops.logaddexp(log_rest, log_d[:, None])
        logits = ops.where(outside, grown, named)
        return transforms.log_probabilities(logits)

    def _solved(
        self, named: Tensor, on: Tensor, log_d: Tensor, slots: Tensor
    ) -> Tensor:
        """The solution for several active dustbins."""
        log_share, log_cells = self._cells_of(named)
        inside = ops.take(
            ops.convert_to_tensor(self._inside, named.dtype), slots, axis=0
        )
        problem = _solver.Problem(
            ops.exp(log_cells), ops.exp(log_d), on, inside * on[..., None]
        )
        q = ops.cast(_solver.solve(problem), named.dtype)
        log_q = ops.take(ops.log(q), self._cell, axis=1)
        return transforms.log_probabilities(log_share + log_q)

    def _cells_of(self, named: Tensor) -> tuple[Tensor, Tensor]:
        """Each class's share in the mass of its cell, and these masses."""
        count = self._inside.shape[1]
        cell = ops.convert_to_tensor(self._cell)
        rows = ops.transpose(named)
        top = ops.segment_max(rows, cell, num_segments=count)
        below = rows - ops.take(top, cell, axis=0)
        total = ops.segment_sum(ops.exp(below), cell, num_segments=count)
        log_total = ops.log(total)
        share = below - ops.take(log_total, cell, axis=0)
        return ops.transpose(share), ops.transpose(top + log_total)


def _check_logits(generalist: Any, specialists: Sequence[Any]) -> None:
    shapes = [tuple(np.shape(z)) for z in (generalist, *specialists)]
    batches = {shape[0] for shape in shapes if shape}
    if len(shapes) < 2 or {len(s) for s in shapes} != {2} or len(batches) > 1:
        raise ValueError(
            "Logits must have the shape (batch, classes), of the generalist "
            "and of at least one specialist, for the same batch. Received: "
            f"shapes {shapes[0]} and {shapes[1:]}."
        )


def _full(
    sets: list[list[int]],
    widths: Sequence[int],
    num_classes: int,
    full_softmax: Sequence[bool] | None,
) -> list[bool]:
    """Which specialists have a full softmax; refuses other widths."""
    if len(sets) != len(widths):
        raise ValueError(
            "There must be one set of classes per specialist. Received: "
            f"{len(sets)} sets for {len(widths)} specialists."
        )
    if full_softmax is None:
        pairs = zip(widths, sets, strict=True)
        full_softmax = [width != len(classes) + 1 for width, classes in pairs]
    for m, (width, full) in enumerate(zip(widths, full_softmax, strict=True)):
        expected = num_classes if full else len(sets[m]) + 1
        if width != expected:
            raise ValueError(
                f"Specialist {m} must have {len(sets[m]) + 1} logits, those "
                "of its special classes and the dustbin's, or one for each of "
                f"the {num_classes} classes. Received: {width} logits for the "
                f"classes {sets[m]}."
            )
    return list(full_softmax)


def _places(
    sets: list[list[int]], full: list[bool], num_classes: int
) -> np.ndarray:
    """Where each class is named, among all logits side by side.

    Shape `(classes, most models that name one)`; the last column of all, which
    holds no mass, where fewer do.
    """
    named: list[list[int]] = [[j] for j in range(num_classes)]
    start = num_classes
    for classes, whole in zip(sets, full, strict=True):
        classes = list(range(num_classes)) if whole else classes
        for place, j in enumerate(classes, start):
            named[j].append(place)
        start += len(classes)
    table = np.full((num_classes, max(map(len, named))), start, "int32")
    for row, places in zip(table, named, strict=True):
        row[: len(places)] = places
    return table


def _cells(members: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The cell of each class, and which specialists each cell is special to."""
    if not len(members):
        return np.zeros(members.shape[1], "int32"), members[:, :1]
    inside, cell = np.unique(members, axis=1, return_inverse=True)
    return cell.reshape(-1).astype("int32"), inside


def _most_active(members: np.ndarray, n: int) -> int:
    """How many of the specialists can be active for one image, at least 1."""
    if not len(members):
        return 1
    most = n * int(members.sum(axis=0).max())
    return max(1, min(most, len(members)))
