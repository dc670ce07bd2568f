"""Section 3 of Hinton et al. 2015: MNIST, and transfer sets without classes."""

from benchmarks.harness import load, mean_sd, paired
from benchmarks.paper.hinton_mnist_methods import LABELS, SOFT
from benchmarks.tables.formatting import Row, count, difference, markdown


def claims() -> list[Row]:
    """Errors on the 10,000 test images."""
    result = load("hinton_mnist")
    students, paper = result["students"], result["paper"]
    teacher = result["teachers"]["test"]
    rows = [
        ["teacher, 2 x 1200, dropout, shifts", "teacher", teacher],
        ["student, 2 x 800, labels alone", LABELS, students[LABELS]],
        ["the same, soft targets alone, T = 20", SOFT, students[SOFT]],
    ]
    table = [[what, str(paper[k]), *cells(found)] for what, k, found in rows]
    table.append(kept_row(result))
    table += temperature_rows(result["temperature"])
    table += omitted_rows(result["omitted"], paper)
    return table


def cells(found: dict) -> Row:
    return [count(found), str(len(found["values"]))]


def share_kept(labels: float, soft: float, teacher: float) -> float:
    """Of the gap between labels and teacher."""
    return (labels - soft) / (labels - teacher)


def kept_row(result: dict) -> Row:
    students, paper = result["students"], result["paper"]
    means = [
        result["teachers"]["test"]["mean"]
        if key == "teacher"
        else students[key]["mean"]
        for key in (LABELS, SOFT, "teacher")
    ]
    theirs = share_kept(*(paper[key] for key in (LABELS, SOFT, "teacher")))
    return [
        "share of the gap between labels and teacher that is closed",
        f"{theirs:.0%}",
        f"{share_kept(*means):.0%}",
        str(len(students[SOFT]["values"])),
    ]


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
    return [*rows, *narrow_rows(curves["30"])]


def narrow_rows(points: dict) -> list[Row]:
    """Of 30 units: T = 3, the middle of the paper's band, against others."""
    seeds = str(len(points["3"]["values"]))
    band = ", ".join(f"{points[t]['mean']:.1f}" for t in ("2.5", "3", "4"))
    best = min(points, key=lambda t: points[t]["mean"])
    rows = [
        [
            "30 units: T of 2.5 to 4 is best",
            "significantly better",
            f"{band}; lowest {points[best]['mean']:.1f} at T = {best}",
            seeds,
        ]
    ]
    for other in ("1", "8", "20"):
        values = points["3"]["values"], points[other]["values"]
        rows.append(
            [
                f"30 units: T = 3 less T = {other}, same seeds (95 % interval)",
                "below 0",
                difference(paired(*values)),
                seeds,
            ]
        )
    return rows


def omitted_rows(omitted: dict, paper: dict) -> list[Row]:
    threes, two = omitted["no threes"], omitted["sevens and eights"]
    plain, shifted = paper["no threes"], paper["no threes, shifted"]

    def with_threes(row: str) -> str:
        found = threes[row]
        return f"{count(found['errors'])}; {count(found['errors on omitted'])}"

    seeds = str(len(threes["as trained"]["errors"]["values"]))
    shift = threes["3, accuracy"]["shift"]["mean"]
    both = two["7 and 8, accuracy"]["shift"]["mean"]
    return [
        [
            "no threes in the transfer set: errors; on threes",
            f"{plain[0]}; {plain[1]}",
            with_threes("as trained"),
            seeds,
        ],
        [
            f"bias of 3 shifted, fitted with labels (ours: {shift:+.1f})",
            f"{shifted[0]}; {shifted[1]} (+3.5)",
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
            f"{paper['sevens and eights']:.1%}",
            error_rate(two["as trained"]["errors"]),
            seeds,
        ],
        [
            f"their biases shifted alike, with labels (ours: {both:+.1f})",
            f"{paper['sevens and eights, shifted']:.1%} (-7.6)",
            error_rate(two["7 and 8, accuracy"]["errors"]),
            seeds,
        ],
        [
            "a shift for each class, with labels",
            "",
            error_rate(two["each class, likelihood"]["errors"]),
            seeds,
        ],
        [
            "the same by class frequencies, without labels",
            "",
            error_rate(two["frequencies, no labels"]["errors"]),
            seeds,
        ],
    ]


def error_rate(found: dict) -> str:
    """Errors of 10,000, as percentages."""
    return mean_sd(found, 1, 0.01, "%")


def students() -> str:
    """All methods, chosen on held-out training images, on the test images."""
    result = load("hinton_mnist")
    held_out = result["tuning"]
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


def beyond() -> str:
    """What the paper does not do, beside what it does."""
    result = load("hinton_mnist")
    arms = {
        "the teacher itself": result["teachers"]["test"],
        SOFT: result["students"][SOFT],
        **{f"the same, {name}": f for name, f in result["beyond"].items()},
    }
    rows = [[name, *cells(found)] for name, found in arms.items()]
    return markdown(["student, 2 x 800", "test errors", "seeds"], rows)


def finding() -> str:
    result = load("hinton_mnist")
    paper, students = result["paper"], result["students"]
    return (
        f"Of 10,000 test images a student gets {count(students[LABELS])} "
        f"wrong from labels and {count(students[SOFT])} from soft targets "
        f"(paper: {paper[LABELS]} and {paper[SOFT]})."
    )


def bias_finding() -> str:
    threes = load("hinton_mnist")["omitted"]["no threes"]
    before, after, unlabelled = (
        count(threes[row]["errors on omitted"])
        for row in ("as trained", "3, accuracy", "frequencies, no labels")
    )
    return (
        "A student that saw no threes gets "
        f"{before} of the 1,010 in the test set wrong, {after} after one shift "
        f"fitted with labels, {unlabelled} by class frequencies."
    )
