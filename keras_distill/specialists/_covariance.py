"""The covariance matrix of rows that are seen once, and kept no longer."""

import importlib
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from keras_distill import _optional

# Rows that one update of the covariance takes: enough that the arithmetic,
# not the way of the matrix through memory, is what takes time.
BLOCK = 512

# Rows and their weights.
Rows = tuple[np.ndarray, np.ndarray]


def streaming_covariance(blocks: Iterable[Rows]) -> np.ndarray:
    """The covariance of weighted rows, in the memory of one such matrix.

    That of `np.cov(rows, rowvar=False, aweights=weights)`.

    Args:
        blocks: Pairs of rows, float64, shape `(rows, columns)`, and weights,
            shape `(rows,)`; at least one pair.
    """
    product = needed("scipy.linalg.blas").dsyrk
    matrix = shift = np.empty(0)
    sums, total, squares, used = np.zeros(1), 0.0, 0.0, 0
    for rows, weight in blocks:
        if not matrix.size:
            # Without the shift, large means cancel and leave rounding.
            shift = rows.mean(axis=0)
            matrix = np.zeros((rows.shape[1],) * 2, order="F")
        rows = rows - shift
        sums = sums + weight @ rows
        total += float(weight.sum())
        squares += float(weight @ weight)
        used += int(np.count_nonzero(weight))
        rows *= np.sqrt(weight)[:, None]
        matrix = product(
            1.0, rows.T, beta=1.0, c=matrix, overwrite_c=1, lower=1
        )
    _require_two(used)
    mean = (sums / total)[:, None]
    matrix = product(-total, mean, beta=1.0, c=matrix, overwrite_c=1, lower=1)
    matrix /= total - squares / total
    _mirror(matrix)
    return matrix.T


def _mirror(matrix: np.ndarray) -> None:
    """Copies the lower triangle onto the upper one, block by block."""
    for start in range(0, len(matrix), BLOCK):
        stop = start + BLOCK
        corner = np.tril(matrix[start:stop, start:stop])
        corner += np.tril(corner, -1).T
        matrix[start:stop, start:stop] = corner
        matrix[start:stop, stop:] = matrix[stop:, start:stop].T


def blocks_of(parts: Iterable[Rows]) -> Iterator[Rows]:
    """The same rows, `BLOCK` at a time, whatever the batches were."""
    held: list[Rows] = []
    room = BLOCK
    for rows, weight in parts:
        while len(rows):
            held.append((rows[:room], weight[:room]))
            rows, weight = rows[room:], weight[room:]
            room -= len(held[-1][0])
            if room == 0:
                yield _joined(held)
                held, room = [], BLOCK
    if held:
        yield _joined(held)


def _joined(held: list[Rows]) -> Rows:
    rows, weights = zip(*held, strict=True)
    return np.concatenate(rows), np.concatenate(weights)


def _require_two(examples: int) -> None:
    if examples < 2:
        raise ValueError(
            "A covariance needs at least two examples. Received: "
            f"{examples} with a weight above 0. Pass more predictions; "
            "thousands are usual."
        )


def needed(module: str) -> Any:
    """A module of scikit-learn, or of SciPy, which comes with it."""
    user = "kd.specialists.confusable_classes"
    with _optional.imports_of("specialists", user):
        return importlib.import_module(module)
