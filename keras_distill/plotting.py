"""Pictures, drawn by matplotlib: `pip install "keras-distill[plot]"`."""

import os
from typing import Any, NamedTuple

import numpy as np

from keras_distill import _optional

__all__ = ["class_covariance"]

_NAMED = 100  # More names than this cannot be read side by side.
_DRAWN = 1500  # More rows than this are drawn as means of several.
_INCH = 0.13  # What a name needs.
_QUANTILE = 0.97


class _Matrix(NamedTuple):
    """What is drawn, with the colour's limit and classes per row of it."""

    values: np.ndarray
    limit: float
    factor: int


def class_covariance(
    found: Any, path: str | os.PathLike[str] | None = None
) -> Any:
    """Draws the covariance of predictions, the classes of one set together.

    Each class stands in the first set that has it, and those in no set come
    last; lines part the sets. Blocks on the diagonal are classes that the
    generalist confuses. The variances on the diagonal are left grey, and the
    colours end at the 97th percentile of the absolute covariance of two classes
    of one set, so that neither hides the blocks. Names are written where there
    are at most 100 classes. Of more than 1500 classes, means over small squares
    are drawn.

    Args:
        found: What `kd.specialists.confusable_classes` returned.
        path: A file to write, of a format that its ending tells, or None.

    Returns:
        A `matplotlib.figure.Figure`, which notebooks show.

    Raises:
        ImportError: If matplotlib is missing.

    Example:

    >>> p = np.random.dirichlet([1, 1, 1, 1], 50)
    >>> found = kd.specialists.confusable_classes(p, 2)
    >>> figure = kd.plotting.class_covariance(found, "covariance.png")
    """
    with _optional.imports_of("plot", "kd.plotting"):
        from matplotlib.figure import Figure
    groups = _groups(found.class_sets, len(found.covariance))
    matrix = _matrix(found, np.concatenate(groups))
    names = _tick_names(found)
    side = min(max(5.0, _INCH * len(names or ())), 14.0)
    figure = Figure((side + 2.0, side), layout="constrained")
    axes = figure.add_subplot()
    _draw(figure, axes, matrix)
    _part(axes, groups, matrix.factor)
    _label(axes, names, np.concatenate(groups))
    axes.set_title(_title(found, groups, matrix.factor))
    if path is not None:
        figure.savefig(path, dpi=150)
    return figure


def _groups(class_sets: list[list[int]], classes: int) -> list[list[int]]:
    """Each class once, under its first set; those in no set at the end."""
    left = dict.fromkeys(range(classes))
    groups = []
    for members in [*class_sets, list(left)]:
        groups.append([i for i in members if i in left])
        for i in groups[-1]:
            del left[i]
    return [group for group in groups if group]


def _matrix(found: Any, order: np.ndarray) -> _Matrix:
    factor = -(-len(order) // _DRAWN)
    values = _shrunk(found.covariance, order, factor)
    if factor == 1:
        np.fill_diagonal(values, np.nan)
    limit = _limit(found.covariance, found.class_sets)
    return _Matrix(values, limit, factor)


def _shrunk(
    covariance: np.ndarray, order: np.ndarray, factor: int
) -> np.ndarray:
    """Means over squares of `factor` classes, without the variances."""
    if factor == 1:
        return covariance[np.ix_(order, order)]
    starts = np.arange(0, len(order), factor)
    rows = []
    for start in starts:
        taken = order[start : start + factor]
        part = covariance[taken]
        part[np.arange(len(taken)), taken] = 0.0
        sums = np.add.reduceat(part.sum(axis=0)[order], starts)
        rows.append(sums / len(taken))
    counts = np.diff(np.append(starts, len(order)))
    return np.stack(rows) / counts


def _limit(covariance: np.ndarray, class_sets: list[list[int]]) -> float:
    inside = [_pairs(covariance, members) for members in class_sets]
    values = np.concatenate(inside)
    if not values.any():
        values = _pairs(covariance, list(range(min(len(covariance), _DRAWN))))
    limit = float(np.quantile(values, _QUANTILE)) if len(values) else 0.0
    return limit or float(values.max(initial=0.0)) or 1.0


def _pairs(covariance: np.ndarray, members: list[int]) -> np.ndarray:
    """Absolute covariances of two classes of a set, or of its first ones."""
    members = members[:_DRAWN]
    square = np.abs(covariance[np.ix_(members, members)])
    return square[~np.eye(len(members), dtype=bool)]


def _tick_names(found: Any) -> list[str] | None:
    names = found.class_names
    return names if names and len(names) <= _NAMED else None


def _draw(figure: Any, axes: Any, matrix: _Matrix) -> None:
    image = axes.imshow(
        matrix.values,
        cmap="RdBu_r",
        vmin=-matrix.limit,
        vmax=matrix.limit,
        interpolation="nearest",
    )
    axes.set_facecolor("0.8")
    bar = figure.colorbar(image, ax=axes, extend="both", shrink=0.8, aspect=30)
    percent = round(100 * _QUANTILE)
    bar.set_label(
        f"covariance, colours end at the {percent}th percentile within sets"
    )


def _part(axes: Any, groups: list[list[int]], factor: int) -> None:
    sizes = [len(group) for group in groups]
    width = 0.6 if len(sizes) <= 30 else 0.3
    for edge in np.cumsum(sizes)[:-1] / factor - 0.5:
        axes.axhline(edge, color="black", linewidth=width)
        axes.axvline(edge, color="black", linewidth=width)


def _label(axes: Any, names: list[str] | None, order: np.ndarray) -> None:
    if names is None:
        axes.set_xticks([])
        axes.set_yticks([])
        axes.set_xlabel("classes, set by set")
        axes.set_ylabel("classes, set by set")
        return
    texts, places = [names[i] for i in order], range(len(order))
    size = 9 if len(texts) <= 40 else 6
    axes.set_xticks(places, texts, rotation=90, fontsize=size)
    axes.set_yticks(places, texts, fontsize=size)


def _title(found: Any, groups: list[list[int]], factor: int) -> str:
    text = f"{len(found.covariance)} classes, {len(found.class_sets)} sets"
    in_sets = len(set().union(*found.class_sets))
    if in_sets < len(found.covariance):
        text += f", {len(groups[-1])} classes in none"
    return f"{text}, means over {factor} x {factor}" if factor > 1 else text
