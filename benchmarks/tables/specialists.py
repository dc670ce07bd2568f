"""Specialists: what they gain, and what finding and combining them costs."""

from benchmarks.harness import load, percent
from benchmarks.tables.formatting import Row, gain, markdown, noted
from benchmarks.tables.verdicts import YES, at_least

_LEAST = 3  # classes
_EASIEST = "the classes that most sets cover are the easiest"
_NOT_THERE = "images not there after the most steps tried"


def claims() -> list[Row]:
    """Relative improvements over the generalist."""
    result = load("specialists")
    arm, seeds = "specialists, n = 2", str(len(result["seeds"]))
    found = result["arms"][arm]["relative improvement"]
    paper = result["paper"]["relative improvement"]
    most = list(well_covered(result))[-1]
    by_cover, theirs = result["by cover"][arm], result["paper"]["by cover"]
    first, last = by_cover["1"], by_cover[most]
    grows = last["mean"] > first["mean"]
    return [
        [
            "specialists: relative improvement",
            f"{100 * paper:+.1f} %",
            gain(found),
            at_least(found["mean"], paper, "less"),
            seeds,
        ],
        [
            f"it grows with the specialists of the true class (1; {most})",
            f"{theirs[1]:+.1f} %; {theirs[int(most)]:+.1f} %",
            f"{gain(first)}; {gain(last)}",
            YES if grows else f"no: {_EASIEST}",
            seeds,
        ],
    ]


def experiment() -> str:
    """Table 3 of the paper, and the arms that it does not have."""
    result = load("specialists")
    paper = result["paper"]
    rows = [
        ["paper: baseline", *shares(paper["baseline"]), ""],
        [
            "paper: 61 specialists",
            *shares(paper["specialists"]),
            f"{100 * paper['relative improvement']:+.1f} %",
        ],
    ]
    for name, arm in result["arms"].items():
        if name.startswith("student"):  # See `distilled.py`.
            continue
        improvement = arm["relative improvement"]
        rows.append(
            [
                name,
                percent(arm["conditional"]),
                percent(arm["overall"]),
                "" if name == "generalist" else gain(improvement),
            ]
        )
    header = ["model", "conditional accuracy", "accuracy", "improvement"]
    seeds = len(result["seeds"])
    note = f"Mean and standard deviation over {seeds} seeds. "
    return noted(markdown(header, rows), result["environment"], before=note)


def shares(pair: list[float]) -> Row:
    return [f"{value:.1%}" for value in pair]


def cover() -> str:
    """Table 4: improvement by the number of specialists of the true class.

    Those of few classes, whose improvement is chance, are left out.
    """
    result = load("specialists")
    arms = ["specialists, n = 1", "specialists, n = 2"]
    table, paper = result["by cover"], result["paper"]["by cover"]
    rows = [
        [
            f"{k} and more" if int(k) == len(paper) - 1 else k,
            f"{paper[int(k)]:+.1f} %",
            *(gain(table[arm][k]) for arm in arms),
            f"{classes:.1f}",
        ]
        for k, classes in well_covered(result).items()
    ]
    header = ["specialists covering the true class", "paper", *arms]
    return markdown([*header, "classes"], rows)


def well_covered(result: dict) -> dict[str, float]:
    """Classes, on average, by the number of specialists that cover them."""
    last = len(result["paper"]["by cover"]) - 1
    found = {}
    for k in next(iter(result["by cover"].values())):
        covers = slice(int(k), None if int(k) == last else int(k) + 1)
        counts = [
            sum(seed["classes by cover"][covers]) for seed in result["seeds"]
        ]
        if sum(counts) >= _LEAST * len(counts):
            found[k] = sum(counts) / len(counts)
    return found


def inference() -> str:
    """Times of eq. (5), solved by us and by the paper's method."""
    result = load("specialist_inference")
    found = result["combination"]
    error = found["largest error of q, ours"]
    ours = found["seconds, ours"]
    rows = [
        ["`kd.specialists.combine_logits`", f"{error:.0e}", f"{ours:.2f} s", ""]
    ]
    arms = {
        "image": "gradient descent, image by image",
        "batch": "gradient descent, batch by batch, compiled",
    }
    for arm, name in arms.items():
        for reached, row in found["gradient descent to an error of"].items():
            steps = row[f"steps, {arm}"]
            least = "at least " * (steps[_NOT_THERE] > 0)
            rows.append(
                [
                    name,
                    reached,
                    f"{least}{row[f'seconds, {arm}']:,.0f} s",
                    f"{least}{row[f'{arm} / ours']:,.0f}",
                ]
            )
    header = ["10,000 images, 1,000 classes, 20 specialists", "error of `q`"]
    header += ["time", "/ ours"]
    return noted(markdown(header, rows), result["environment"])


def confusable() -> str:
    """What finding classes costs, and whether it finds them."""
    result = load("confusable_classes")
    rows = []
    for arm in result["arms"].values():
        size = f"sets of {arm['size']}" if arm["size"] else "disjoint sets"
        frequencies = ", frequencies of Zipf" if arm["zipf"] else ""
        rows.append(
            [
                f"{arm['classes']:,}{frequencies}, {arm['groups']} {size}",
                f"{arm['examples']:,}",
                f"{arm['covariance, seconds per 1,000 examples']:.2f} s",
                f"{arm['clustering, seconds']:.1f} s",
                f"{arm['peak resident MB']:,.0f} MB",
                f"{arm['all classes']['mean share of a group']:.0%}",
            ]
        )
    header = ["classes", "examples", "covariance, per 1,000", "K-means"]
    header += ["peak memory", "of a known group in one set"]
    return noted(markdown(header, rows), result["environment"])


def finding() -> str:
    result = load("specialists")
    arms = {
        name: gain(arm["relative improvement"])
        for name, arm in result["arms"].items()
    }
    paper = result["paper"]["relative improvement"]
    return (
        f"Specialists improve a generalist by {arms['specialists, n = 2']} "
        f"(paper: {100 * paper:+.1f} %)."
    )


def inference_finding() -> str:
    found = load("specialist_inference")["combination"]
    slower = found["gradient descent to an error of"]["1e-03"]["image / ours"]
    return (
        "10,000 images, 1,000 classes and 20 specialists are combined in "
        f"{found['seconds, ours']:.2f} s; the paper's gradient descent to an "
        f"error of 1e-3 takes {slower:,.0f} times as long."
    )


def confusable_finding() -> str:
    arm = load("confusable_classes")["arms"]["15,000 classes"]
    return (
        f"For 15,000 classes, {arm['clustering, seconds']:.0f} s of K-means "
        f"and {arm['peak resident MB'] / 1000:.1f} GB find "
        f"{arm['all classes']['mean share of a group']:.0%} of a known group."
    )
