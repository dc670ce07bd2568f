"""Specialists distilled back into one net."""

from benchmarks.harness import load, percent
from benchmarks.tables.formatting import Row, markdown, noted

_NAME = "specialists_distilled"
_KEPT = 0.95  # Of what specialists add; more of it is chance.


def table() -> str:
    """Accuracy of each arm by size, beside generalist and specialists."""
    result = load(_NAME)
    teacher, students = result["teacher"], result["students"]
    arms = list(next(iter(students.values()))["arms"])
    cost = f"{teacher['multiplications']['mean']:,.0f}"
    together = percent(teacher["specialists"])
    rows = [["8, with specialists", cost, together, *[""] * (len(arms) - 1)]]
    rows += [student_row(units, one, arms) for units, one in students.items()]
    seeds = len(teacher["specialists"]["values"])
    scatter = max(
        student["arms"][arm]["accuracy"]["sd"]
        for student in students.values()
        for arm in arms
    )
    note = (
        f"Mean over {seeds} seeds; the largest standard deviation of a student "
        f"is {100 * scatter:.1f} points. "
    )
    table = markdown(["units", "multiplications", *arms], rows)
    return noted(table, result["environment"], before=note)


def student_row(units: str, student: dict, arms: list[str]) -> Row:
    found = [percent(student["arms"][arm]["accuracy"]) for arm in arms]
    return [units, f"{student['multiplications']:,}", *found]


def smallest(result: dict, arm: str) -> str | None:
    """The units of the smallest student that keeps what specialists add."""
    for units, student in result["students"].items():
        if student["arms"][arm]["gain kept"]["mean"] >= _KEPT:
            return units
    return None


def needed(result: dict, arm: str) -> str:
    units = smallest(result, arm)
    return f"{units} units" if units else f"over {list(result['students'])[-1]}"


def finding() -> str:
    result = load(_NAME)
    arms = next(iter(result["students"].values()))["arms"]
    labels, soft, _, tenth, both = [needed(result, arm) for arm in arms]
    return (
        f"To keep {_KEPT:.0%} of what specialists add to a generalist of 8 "
        f"units, one net needs {labels} from labels, and {soft} from the "
        f"specialists' soft targets; from a tenth of the labels it needs "
        f"{tenth}, and {both} with soft targets beside them."
    )
