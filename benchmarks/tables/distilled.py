"""Specialists distilled back into one net."""

from benchmarks.harness import load, percent
from benchmarks.tables.formatting import Row, markdown

_NAME = "specialists_distilled"


def table() -> str:
    """Accuracy of each arm by size, beside generalist and specialists."""
    result = load(_NAME)
    teacher, students = result["teacher"], result["students"]
    arms = list(next(iter(students.values()))["arms"])
    cost = f"{teacher['multiplications']['mean']:,.0f}"
    together = percent(teacher["specialists"])
    rows = [["8, with specialists", cost, together, *[""] * (len(arms) - 1)]]
    rows += [student_row(units, one, arms) for units, one in students.items()]
    return markdown(["units", "multiplications", *arms], rows)


def student_row(units: str, student: dict, arms: list[str]) -> Row:
    found = [percent(student["arms"][arm]["accuracy"]) for arm in arms]
    return [units, f"{student['multiplications']:,}", *found]


def smallest(result: dict, arm: str) -> str | None:
    """The units of the smallest student that is as good as specialists."""
    least = result["teacher"]["specialists"]["mean"]
    for units, student in result["students"].items():
        if student["arms"][arm]["accuracy"]["mean"] >= least:
            return units
    return None
