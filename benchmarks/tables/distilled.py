"""Specialists distilled back into one net."""

from benchmarks.harness import load, percent
from benchmarks.tables.formatting import markdown, noted

_NAME = "specialists_distilled"


def table() -> str:
    """Accuracy of each arm by size, beside generalist and specialists."""
    result = load(_NAME)
    teacher, students = result["teacher"], result["students"]
    arms = list(next(iter(students.values()))["arms"])
    none = [""] * len(arms)
    rows = [
        ["generalist, " + percent(teacher["generalist"]), *_costs(first), *none]
        for first in list(students.values())[:1]
    ]
    cost = f"{teacher['multiplications']['mean']:,.0f}"
    parameters = f"{teacher['parameters']['mean']:,.0f}"
    rows.append(
        [
            "with specialists, " + percent(teacher["specialists"]),
            cost,
            parameters,
            *none,
        ]
    )
    for units, student in students.items():
        found = [student["arms"][arm]["accuracy"] for arm in arms]
        rows.append([f"{units} units", *_costs(student), *map(percent, found)])
    header = ["model", "multiplications", "parameters", *arms]
    seeds = len(teacher["specialists"]["values"])
    note = f"Mean and standard deviation over {seeds} seeds. "
    return noted(markdown(header, rows), result["environment"], before=note)


def _costs(student: dict) -> list[str]:
    return [f"{student[name]:,}" for name in ("multiplications", "parameters")]


def smallest(result: dict, arm: str) -> str | None:
    """The units of the smallest student that is as good as specialists."""
    least = result["teacher"]["specialists"]["mean"]
    for units, student in result["students"].items():
        if student["arms"][arm]["accuracy"]["mean"] >= least:
            return units
    return None
