"""The picture of a search: scores over what was searched."""

import math
import os
from typing import Any, NamedTuple

from matplotlib.ticker import LogLocator, NullFormatter

from keras_distill.plotting._shown import ShownFigure

# Of Okabe and Ito, which colour-blind readers tell apart.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
_FIRST = ("temperature", "soft_loss_weight")
_LOSS = "distillation_loss"
_COLUMNS = 3
_DECADES = 8  # A wider range of given values is drawn on a log scale.


class _Trial(NamedTuple):
    """A trial's score, and the values of what was active in it."""

    score: float
    values: dict[str, Any]


def search(tuner: Any, path: str | os.PathLike[str] | None = None) -> Any:
    """Draws the scores of a search over each of its hyperparameters.

    A panel for each hyperparameter that took several values, `"temperature"`
    and `"soft_loss_weight"` first; each point is a trial that was completed,
    the colours are losses, and a ring is around the best. A trial in which a
    hyperparameter was not active, as the temperature of a loss without one,
    is not in its panel, whose title counts those.

    Args:
        tuner: A `keras_tuner.Tuner` after `search`, or made anew for the
            directory of an earlier search.
        path: A file to write, of a format that its ending tells, or None.

    Returns:
        A `matplotlib.figure.Figure`, which notebooks show.

    Raises:
        ImportError: If matplotlib is missing.
        TypeError: If `tuner` is no tuner.
        ValueError: If fewer than two of its trials were completed, or none of
            its hyperparameters took two values.

    Example:

    >>> kd.plotting.search("search")
    Traceback (most recent call last):
    ...
    TypeError: `tuner` must be a keras_tuner.Tuner. Received: tuner='search'.
    """
    trials, spaces = _completed(tuner)
    names = _searched(trials, spaces)
    columns = min(_COLUMNS, len(names))
    rows = math.ceil(len(names) / columns)
    size = 4.2 * columns, 3.6 * rows + 0.4
    figure = ShownFigure(size, layout="constrained")
    panels = figure.subplots(rows, columns, sharey=True, squeeze=False).ravel()
    objective = tuner.oracle.objective
    extreme = {"max": max, "min": min}[objective.direction]
    best = extreme(trials, key=lambda trial: trial.score)
    colours = _colours(trials)
    for axes, name in zip(panels, names, strict=False):
        _panel(axes, name, spaces[name], trials, best, colours)
    for axes in panels[::columns]:
        axes.set_ylabel(getattr(objective, "name", "objective"))
    for axes in panels[len(names) :]:
        axes.remove()
    if len(colours) > 1:
        handles, labels = _legend(panels[: len(names)])
        figure.legend(handles, labels, loc="outside lower center", ncols=4)
    figure.suptitle(f"{len(trials)} trials; ring: the best, {best.score:.4g}")
    if path is not None:
        figure.savefig(path, dpi=150)
    return figure


def _completed(tuner: Any) -> tuple[list[_Trial], dict[str, Any]]:
    """The trials that have a score, and what was searched, by name."""
    oracle = getattr(tuner, "oracle", None)
    if oracle is None or not hasattr(oracle, "trials"):
        raise TypeError(
            f"`tuner` must be a keras_tuner.Tuner. Received: tuner={tuner!r}."
        )
    done = [t for t in oracle.trials.values() if t.status == "COMPLETED"]
    if len(done) < 2:
        raise ValueError(
            "`tuner` must have two completed trials or more. Received: "
            f"{len(done)} of {len(oracle.trials)} in {tuner.project_dir!r}. "
            "Call tuner.search() first."
        )
    spaces: dict[str, Any] = {}
    trials = []
    for trial in done:
        hp = trial.hyperparameters
        active = [each for each in hp.space if hp.is_active(each)]
        spaces |= {each.name: each for each in active}
        values = {each.name: hp.values[each.name] for each in active}
        trials.append(_Trial(trial.score, values))
    return trials, spaces


def _searched(trials: list[_Trial], spaces: dict[str, Any]) -> list[str]:
    """Names of what took several values, the most looked at first."""
    found = [
        name
        for name in spaces
        if len({t.values[name] for t in trials if name in t.values}) > 1
    ]
    if not found:
        raise ValueError(
            "Some hyperparameter must have taken two values. Received: "
            f"{len(trials)} trials with the same {sorted(spaces)}."
        )
    first = [name for name in _FIRST if name in found]
    return first + [name for name in found if name not in first]


def _colours(trials: list[_Trial]) -> dict[str, str]:
    losses = sorted({str(t.values.get(_LOSS, "")) for t in trials})
    return {loss: _COLOURS[i % len(_COLOURS)] for i, loss in enumerate(losses)}


def _panel(
    axes: Any,
    name: str,
    space: Any,
    trials: list[_Trial],
    best: _Trial,
    colours: dict[str, str],
) -> None:
    shown = [trial for trial in trials if name in trial.values]
    place = _places([trial.values[name] for trial in shown])
    for loss, colour in colours.items():
        own = [t for t in shown if str(t.values.get(_LOSS, "")) == loss]
        x = [place(trial.values[name]) for trial in own]
        y = [trial.score for trial in own]
        axes.plot(x, y, "o", color=colour, alpha=0.7, label=loss)
    if name in best.values:
        at = [place(best.values[name])], [best.score]
        axes.plot(*at, "o", ms=13, mfc="none", mec="black")
    _scale(axes, space, [trial.values[name] for trial in shown])
    axes.set_xlabel(name)
    axes.spines[["top", "right"]].set_visible(False)
    without = len(trials) - len(shown)
    if without:
        axes.set_title(f"{without} trials without", fontsize="medium")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _places(values: list) -> Any:
    """Where a value stands: a number at itself, others side by side."""
    if all(map(_is_number, values)):
        return lambda value: value
    names = sorted(map(str, set(values)))
    return lambda value: names.index(str(value))


def _scale(axes: Any, space: Any, values: list) -> None:
    if not all(map(_is_number, values)):
        names = sorted(map(str, set(values)))
        axes.set_xticks(range(len(names)), names, rotation=30, ha="right")
        axes.set_xlim(-0.5, len(names) - 0.5)
        return
    wide = min(values) > 0 and max(values) >= _DECADES * min(values)
    if getattr(space, "sampling", None) == "log" or (
        not hasattr(space, "min_value") and wide
    ):
        axes.set_xscale("log")
        if max(values) < 100 * min(values):
            axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axes.xaxis.set_major_formatter("{x:g}")
        axes.xaxis.set_minor_formatter(NullFormatter())


def _legend(panels: Any) -> tuple[list, list]:
    """Each loss once, from whichever panel has it."""
    found: dict[str, Any] = {}
    for axes in panels:
        handles, labels = axes.get_legend_handles_labels()
        found |= dict(zip(labels, handles, strict=True))
    return list(found.values()), list(found)
