"""Section 3 of Hinton et al. 2015: MNIST, and transfer sets without classes."""

from benchmarks.harness import load, mean_sd, paired
from benchmarks.paper.hinton_mnist_methods import LABELS, SOFT
from benchmarks.tables.formatting import Row, count, difference, markdown
from benchmarks.tables.verdicts import at_least, at_most, unless

TEST_IMAGES = 10_000
_EACH = "each class, likelihood"
_MORE = "more than in the paper"
_SHIFTED = "shifted images"


def claims() -> list[Row]:
    """Errors on the 10,000 test images."""
    result = load("hinton_mnist")
    students, paper = result["students"], result["paper"]
    teacher = result["teachers"]["test"]
    shifted = f"{count(result['beyond'][_SHIFTED])} on {_SHIFTED}"
    rows = [
        ["teacher, 2 x 1200, dropout, shifts", "teacher", teacher, _MORE],
        ["student, 2 x 800, labels alone", LABELS, students[LABELS], _MORE],
        ["the same, soft targets alone, T = 20", SOFT, students[SOFT], shifted],
    ]
    table = [
        [
            what,
            str(paper[key]),
            count(found),
            at_most(found["mean"], paper[key], why),
            seeds_of(found),
        ]
        for what, key, found, why in rows
    ]
    table.append(kept_row(result))
    table += temperature_rows(result["temperature"])
    table += omitted_rows(result["omitted"], paper)
    return table


def cells(found: dict) -> Row:
    return [count(found), seeds_of(found)]


def seeds_of(found: dict) -> str:
    return str(len(found["values"]))


def share_kept(labels: float, soft: float, teacher: float) -> float:
    """Of the gap between labels and teacher."""
    return (labels - soft) / (labels - teacher)


def kept_row(result: dict) -> Row:
    students, paper = result["students"], result["paper"]
    labels, soft, shifted, teacher = (
        found["mean"]
        for found in (
            students[LABELS],
            students[SOFT],
            result["beyond"][_SHIFTED],
            result["teachers"]["test"],
        )
    )
    theirs = share_kept(*(paper[key] for key in (LABELS, SOFT, "teacher")))
    ours = share_kept(labels, soft, teacher)
    more = f"{share_kept(labels, shifted, teacher):.0%} on {_SHIFTED}"
    return [
        "share of the gap between labels and teacher that is closed",
        f"{theirs:.0%}",
        f"{ours:.0%}",
        at_least(ours, theirs, more),
        seeds_of(students[SOFT]),
    ]


def temperature_rows(curves: dict) -> list[Row]:
    rows = []
    for units in ("800", "300"):
        high = [curves[units][t] for t in ("8", "10", "20")]
        means = [point["mean"] for point in high]
        scatter = max(point["sd"] for point in high)
        differ = max(means) - min(means) > 2 * scatter
        rows.append(
            [
                f"{units} units: all T of 8 and more are alike",
                "fairly similar",
                f"{min(means):.1f} to {max(means):.1f} (largest sd "
                f"{scatter:.1f})",
                unless(differ, "they differ by more than seeds do"),
                seeds_of(high[0]),
            ]
        )
    return [*rows, *narrow_rows(curves["30"])]


def narrow_rows(points: dict) -> list[Row]:
    """Of 30 units: T = 3, the middle of the paper's band, against others."""
    seeds = seeds_of(points["3"])
    band = ", ".join(f"{points[t]['mean']:.1f}" for t in ("2.5", "3", "4"))
    best = min(points, key=lambda t: points[t]["mean"])
    rows = [
        [
            "30 units: T of 2.5 to 4 is best",
            "significantly better",
            f"{band}; lowest {points[best]['mean']:.1f} at T = {best}",
            unless(best not in ("2.5", "3", "4"), "another is"),
            seeds,
        ]
    ]
    for other in ("1", "8", "20"):
        found = paired(points["3"]["values"], points[other]["values"])
        rows.append(
            [
                f"30 units: T = 3 less T = {other}, same seeds (95 % interval)",
                "below 0",
                difference(found),
                unless(found["interval"][1] >= 0, "too few seeds"),
                seeds,
            ]
        )
    return rows


def omitted_rows(omitted: dict, paper: dict) -> list[Row]:
    return [*without_threes(omitted, paper), *of_two(omitted, paper)]


def without_threes(omitted: dict, paper: dict) -> list[Row]:
    """Errors, and those on threes."""
    found = omitted["no threes"]
    shift = found["3, accuracy"]["shift"]["mean"]
    rows = [
        [
            "no threes in the transfer set: errors; on threes",
            "no threes",
            "",
            "as trained",
        ],
        [
            f"bias of 3 shifted, fitted with labels (ours: {shift:+.1f})",
            "no threes, shifted",
            " (+3.5)",
            "3, accuracy",
        ],
        [
            "the same by class frequencies, without labels",
            "",
            "",
            "frequencies, no labels",
        ],
    ]
    table = []
    for what, key, note, row in rows:
        both = [found[row][of] for of in ("errors", "errors on omitted")]
        means = [one["mean"] for one in both]
        theirs = paper.get(key)
        table.append(
            [
                what,
                "; ".join(map(str, theirs)) + note if theirs else "",
                "; ".join(map(count, both)),
                at_most(means, theirs, _MORE) if theirs else "",
                seeds_of(both[0]),
            ]
        )
    return table


def of_two(omitted: dict, paper: dict) -> list[Row]:
    """Error rates."""
    found = omitted["sevens and eights"]
    shift = found["7 and 8, accuracy"]["shift"]["mean"]
    rows = [
        [
            "sevens and eights only: error rate",
            "sevens and eights",
            "",
            "as trained",
        ],
        [
            f"their biases shifted alike, with labels (ours: {shift:+.1f})",
            "sevens and eights, shifted",
            " (-7.6)",
            "7 and 8, accuracy",
        ],
        ["a shift for each class, with labels", "", "", _EACH],
        [
            "the same by class frequencies, without labels",
            "",
            "",
            "frequencies, no labels",
        ],
    ]
    table = []
    for what, key, note, row in rows:
        errors, theirs = found[row]["errors"], paper.get(key)
        rate = errors["mean"] / TEST_IMAGES
        table.append(
            [
                what,
                f"{theirs:.1%}{note}" if theirs else "",
                error_rate(errors),
                at_most(rate, theirs, _MORE) if theirs else "",
                seeds_of(errors),
            ]
        )
    return table


def error_rate(found: dict) -> str:
    return mean_sd(found, 1, 100 / TEST_IMAGES, "%")


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
        f"Of MNIST's 10,000 test images a student gets "
        f"{count(students[LABELS])} wrong from labels and "
        f"{count(students[SOFT])} from soft targets "
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
