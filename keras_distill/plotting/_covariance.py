"""The picture of a covariance, in which blocks are confused classes."""

import os
import textwrap
from typing import Any, NamedTuple

import numpy as np

from keras_distill.plotting._shown import ShownFigure

_NAMED = 40  # More names than this cannot be read side by side.
_DRAWN = 1500  # More rows than this are drawn as means of several.
_INCH = 0.16  # What a name or a line of names needs.
_LINE = 34  # Letters in a line of names.
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
    of one set, so that neither hides the blocks. Of up to 40 classes each is
    named, or numbered. Of more, each block has the number of its set, its place
    in `class_sets`, and as many names as there is room for; a set all of whose
    classes stand in earlier ones has no block, and the title counts these. Of
    more than 1500 classes, means over small squares are drawn.

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
    groups = _groups(found.class_sets, len(found.covariance))
    order = np.concatenate(list(groups.values()))
    matrix = _matrix(found, order)
    each = len(order) <= _NAMED
    side = max(5.0, _INCH * len(order)) if each else 8.0
    beside = 3.8 if found.class_names and not each else 2.0
    figure = ShownFigure((side + beside, side), layout="constrained")
    axes = figure.add_subplot()
    _draw(figure, axes, matrix)
    _part(axes, groups, matrix.factor)
    if each:
        _label_classes(axes, found, order)
    else:
        # The title and the numbers below take an eighth of the side.
        _label_sets(axes, found, groups, 7 / 8 * side / len(order))
    axes.set_title(_title(found, groups, matrix.factor))
    if path is not None:
        figure.savefig(path, dpi=150)
    return figure


def _groups(class_sets: list[list[int]], classes: int) -> dict[str, list[int]]:
    """Each class once, under its first set; those in no set at the end."""
    left = dict.fromkeys(range(classes))
    groups = {}
    numbered = {str(i): members for i, members in enumerate(class_sets)}
    for name, members in {**numbered, "none": list(left)}.items():
        groups[name] = [i for i in members if i in left]
        for i in groups[name]:
            del left[i]
    return {name: group for name, group in groups.items() if group}


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


def _part(axes: Any, groups: dict[str, list[int]], factor: int) -> None:
    sizes = [len(group) for group in groups.values()]
    width = 0.6 if len(sizes) <= 30 else 0.3
    for edge in np.cumsum(sizes)[:-1] / factor - 0.5:
        axes.axhline(edge, color="black", linewidth=width)
        axes.axvline(edge, color="black", linewidth=width)


def _label_classes(axes: Any, found: Any, order: np.ndarray) -> None:
    names = found.class_names or [str(i) for i in range(len(order))]
    texts = [names[i] for i in order]
    axes.set_xticks(range(len(order)), texts, rotation=90, fontsize=9)
    axes.set_yticks(range(len(order)), texts, fontsize=9)
    axes.set_xlabel("class")
    axes.set_ylabel("class")


def _label_sets(
    axes: Any, found: Any, groups: dict[str, list[int]], inches: float
) -> None:
    """One label for each set, those left out that have no room."""
    ends = np.cumsum([len(group) for group in groups.values()])
    places = ends - np.array([len(group) for group in groups.values()]) / 2
    chosen = _with_room(places * inches)
    scale = axes.get_xlim()[1] + 0.5
    ticks = places[chosen] / ends[-1] * scale - 0.5
    names = [list(groups)[i] for i in chosen]
    texts = [
        _set_label(name, groups[name], found.class_names, inches)
        for name in names
    ]
    turned = 90 if len(groups) > 99 else 0  # Wider than high.
    axes.set_xticks(ticks, names, fontsize=8, rotation=turned)
    axes.set_yticks(ticks, texts, fontsize=8)
    axes.set_xlabel("number of the first set that has the class")
    axes.set_ylabel("number of the first set that has the class")


def _with_room(places: np.ndarray) -> list[int]:
    """Which labels can stand side by side, from the first on."""
    chosen = [0]
    for i, place in enumerate(places):
        if place - places[chosen[-1]] >= _INCH:
            chosen.append(i)
    return chosen


def _set_label(
    name: str, members: list[int], class_names: list[str] | None, inches: float
) -> str:
    """The number of a set, and names as far as they fit beside its block."""
    if not class_names:
        return name
    text = f"{name}:  " + ", ".join(class_names[i] for i in members)
    lines = max(1, int(len(members) * inches / _INCH))
    return textwrap.fill(text, _LINE, max_lines=lines, placeholder=" …")


def _title(found: Any, groups: dict[str, list[int]], factor: int) -> str:
    sets = len(found.class_sets)
    text = f"{len(found.covariance)} classes, {sets} sets"
    hidden = sets - len(groups.keys() - {"none"})
    if hidden:
        text += f", {hidden} of them within earlier ones"
    if "none" in groups:
        text += f", {len(groups['none'])} classes in none"
    return f"{text}, means over {factor} x {factor}" if factor > 1 else text
