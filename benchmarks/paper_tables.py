"""Tables of the README that set a paper's claims beside our numbers."""

import json
import pathlib
from typing import Any

RESULTS = pathlib.Path(__file__).parent / "results"

Row = list[str]


def load(name: str) -> Any:
    return json.loads((RESULTS / f"{name}.json").read_text())


def markdown(header: Row, rows: list[Row]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def errors(found: dict, digits: int = 1) -> str:
    """Mean and standard deviation of counts."""
    return f"{found['mean']:.{digits}f} (sd {found['sd']:.{digits}f})"


def share(found: dict) -> str:
    """Mean and standard deviation of counts of 10,000, as percentages."""
    return f"{found['mean'] / 100:.1f} % (sd {found['sd'] / 100:.1f})"


def mnist_rows() -> list[Row]:
    """Section 3 of the paper: errors on the 10,000 test images."""
    result = load("hinton_mnist")
    students, omitted = result["students"], result["omitted"]
    soft = students["soft targets alone, T = 20"]
    rows = [
        ["teacher, 2 x 1200, dropout, shifts", "67", result["teachers"]],
        ["student, 2 x 800, labels alone", "146", students["labels alone"]],
        ["the same, soft targets alone, T = 20", "74", soft],
    ]
    table = [[what, paper, *cells(found)] for what, paper, found in rows]
    table += temperature_rows(result["temperature"])
    table += omitted_rows(omitted)
    return table


def cells(found: dict) -> Row:
    return [errors(found), str(len(found["values"]))]


def temperature_rows(curves: dict) -> list[Row]:
    rows = []
    for units in ("800", "300"):
        high = [curves[units][t] for t in ("8", "10", "20")]
        means = [point["mean"] for point in high]
        rows.append(
            [
                f"{units} units: all T of 8 and more are alike",
                "fairly similar",
                f"{min(means):.1f} to {max(means):.1f} (largest sd "
                f"{max(point['sd'] for point in high):.1f})",
                str(len(high[0]["values"])),
            ]
        )
    small = curves["30"]
    middle = {t: small[t]["mean"] for t in ("2.5", "3", "4")}
    others = {t: p["mean"] for t, p in small.items() if t not in middle}
    rows.append(
        [
            "30 units: T of 2.5 to 4 is best",
            "significantly better",
            f"{min(middle.values()):.1f} to {max(middle.values()):.1f}; other "
            f"T {min(others.values()):.1f} (T = {min(others, key=others.get)}) "
            f"to {max(others.values()):.1f}",
            str(len(small["4"]["values"])),
        ]
    )
    return rows


def omitted_rows(omitted: dict) -> list[Row]:
    threes, two = omitted["no threes"], omitted["sevens and eights"]

    def with_threes(row: str) -> str:
        found = threes[row]
        return f"{errors(found['errors'])}; {errors(found['errors on omitted'])}"

    seeds = str(len(threes["as trained"]["errors"]["values"]))
    shift = threes["3, accuracy"]["shift"]["mean"]
    both = two["7 and 8, accuracy"]["shift"]["mean"]
    return [
        [
            "no threes in the transfer set: errors; on threes",
            "206; 133",
            with_threes("as trained"),
            seeds,
        ],
        [
            f"bias of 3 shifted, fitted with labels (ours: {shift:+.1f})",
            "109; 14 (+3.5)",
            with_threes("3, accuracy"),
            seeds,
        ],
        [
            "the same by class frequencies, without labels",
            "",
            with_threes("frequencies, no labels"),
            seeds,
        ],
        [
            "sevens and eights only: error rate",
            "47.3 %",
            share(two["as trained"]["errors"]),
            seeds,
        ],
        [
            f"their biases shifted alike, with labels (ours: {both:+.1f})",
            "13.2 % (-7.6)",
            share(two["7 and 8, accuracy"]["errors"]),
            seeds,
        ],
        [
            "a shift for each class, with labels",
            "",
            share(two["each class, likelihood"]["errors"]),
            seeds,
        ],
        [
            "the same by class frequencies, without labels",
            "",
            share(two["frequencies, no labels"]["errors"]),
            seeds,
        ],
    ]


def mnist_students() -> str:
    """All methods, chosen on held-out training images, on the test images."""
    result = load("hinton_mnist")
    held_out = result["tuning"]["students"]
    tried = {m: s for methods in held_out.values() for m, s in methods.items()}
    rows = []
    for name, found in result["students"].items():
        scores = tried[found["method"]]
        rows.append(
            [
                name,
                f"`{found['method']}`",
                f"{sum(scores) / len(scores):.0f}",
                *cells(found),
            ]
        )
    header = ["student, 2 x 800", "setting", "held-out errors", "test errors"]
    return markdown([*header, "seeds"], rows)


def mnist_claims() -> str:
    header = ["MNIST: the paper's claim", "paper", "here", "seeds"]
    return markdown(header, mnist_rows())
