"""Markdown from result files."""

from collections.abc import Callable, Iterable

from benchmarks.harness import load, mean_sd

Row = list[str]


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
    cores = f"{environment['cores']} cores of {environment['processor']}"
    device = environment.get("device")
    return f"{f'{device}, ' if device else ''}{cores}; {versions}."


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


def gain(found: dict) -> str:
    """A relative improvement."""
    return mean_sd(found, 1, 100, " %", "+")


def count(found: dict) -> str:
    """Counts, whole where there is one seed only."""
    return mean_sd(found, 0 if found["sd"] is None else 1)


def difference(found: dict, digits: int = 1) -> str:
    """A paired difference and its 95 % interval."""
    low, high = found["interval"]
    return (
        f"{found['mean']:+.{digits}f} ({low:+.{digits}f} to {high:+.{digits}f})"
    )


def span(values: Iterable[float], digits: int = 2) -> str:
    """The smallest and the largest value."""
    values = list(values)
    low, high = f"{min(values):.{digits}f}", f"{max(values):.{digits}f}"
    return low if low == high else f"{low} to {high}"
