"""Markdown from result files."""

import json
from typing import Any

from benchmarks.harness import RESULTS


def load(name: str) -> Any:
    return json.loads((RESULTS / f"{name}.json").read_text())


def markdown(header: list[str], rows: list[list[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def where(environment: dict) -> str:
    versions = ", ".join(
        f"{name} {version}" for name, version in environment["versions"].items()
    )
    return (
        f"{environment['cores']} cores of {environment['processor']}; "
        f"{versions}."
    )


def percent(summary: dict) -> str:
    return f"{summary['mean']:.1%} (sd {100 * summary['sd']:.1f})"
