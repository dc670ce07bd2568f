"""Markdown from result files."""

import json
from collections.abc import Callable, Iterable
from typing import Any

from benchmarks.harness import RESULTS

Row = list[str]


def load(name: str) -> Any:
    return json.loads((RESULTS / f"{name}.json").read_text())


def markdown(header: Row, rows: Iterable[Row]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def noted(text: str, *environments: dict, before: str = "") -> str:
    """A table, and under it where its numbers were measured, each once."""
    notes = dict.fromkeys(before + where(one) for one in environments)
    return "\n\n".join([text, "\n".join(notes)])


def where(environment: dict) -> str:
    versions = ", ".join(
        f"{name} {version}" for name, version in environment["versions"].items()
    )
    return (
        f"{environment['cores']} cores of {environment['processor']}; "
        f"{versions}."
    )


def by_backend(
    name: str, header: Row, rows_of: Callable[[dict], list[Row]]
) -> str:
    """One table of all backends that a benchmark was run on."""
    results = load(name)
    rows = [
        [backend, *row]
        for backend, result in results.items()
        for row in rows_of(result)
    ]
    table = markdown(["backend", *header], rows)
    return noted(table, *(one["environment"] for one in results.values()))


def mean_sd(
    found: dict,
    digits: int = 1,
    scale: float = 1.0,
    unit: str = "",
    sign: str = "",
) -> str:
    """Mean and, where there is one, standard deviation, times `scale`."""
    mean = f"{scale * found['mean']:{sign}.{digits}f}{unit}"
    if found["sd"] is None:
        return mean
    return f"{mean} (sd {scale * found['sd']:.{digits}f})"


def percent(found: dict, digits: int = 1) -> str:
    """Shares of 1."""
    return mean_sd(found, digits, 100, "%")


def gain(found: dict) -> str:
    """A relative improvement."""
    return mean_sd(found, 1, 100, " %", "+")


def count(found: dict) -> str:
    """Counts, whole where there is one seed only."""
    return mean_sd(found, 0 if found["sd"] is None else 1)


def span(values: Iterable[float], digits: int = 2) -> str:
    """The smallest and the largest value."""
    values = list(values)
    low, high = f"{min(values):.{digits}f}", f"{max(values):.{digits}f}"
    return low if low == high else f"{low} to {high}"
