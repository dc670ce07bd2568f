"""Tables of the README on specialists."""

from benchmarks.tables.formatting import load, markdown, percent, where

Row = list[str]
_NOT_THERE = "images not there after the most steps tried"


def gain(found: dict) -> str:
    """A relative improvement and its deviation, in percent."""
    return f"{100 * found['mean']:+.1f} % (sd {100 * found['sd']:.1f})"


def experiment() -> str:
    """Table 3 of the paper, and the arms that it does not have."""
    result = load("specialists")
    paper, chosen = result["paper"], result["tuning"]["chosen"]
    rows = [
        ["paper: baseline", *shares(paper["baseline"]), ""],
        [
            "paper: 61 specialists",
            *shares(paper["specialists"]),
            f"{100 * paper['relative improvement']:+.1f} %",
        ],
    ]
    for name, arm in result["arms"].items():
        improvement = arm["relative improvement"]
        rows.append(
            [
                label(name, chosen),
                percent(arm["conditional"]),
                percent(arm["overall"]),
                "" if name == "generalist" else gain(improvement),
            ]
        )
    header = ["model", "conditional accuracy", "accuracy", "improvement"]
    seeds = len(result["seeds"])
    note = f"Mean and standard deviation over {seeds} seeds. "
    note += where(result["environment"])
    return f"{markdown(header, rows)}\n\n{note}"


def shares(pair: list[float]) -> Row:
    return [f"{value:.1%}" for value in pair]


def label(name: str, chosen: dict) -> str:
    """What a row is called; students by what they learn from."""
    if not name.startswith("student"):
        return name
    temperature, hard = chosen[name]
    labels = f", labels {hard:g}" if hard else ""
    return f"student, soft targets at T = {temperature:g}{labels}"


def cover() -> str:
    """Table 4: improvement by the number of specialists of the true class."""
    result = load("specialists")
    arms = ["specialists, n = 1", "specialists, n = 2"]
    table = result["by cover"]
    header = ["specialists covering the true class", "paper", *arms]
    header += ["classes"]
    rows = []
    for k in table[arms[0]]:
        last = int(k) == len(result["paper"]["by cover"]) - 1
        covers = slice(int(k), None if last else int(k) + 1)
        counts = [
            sum(seed["classes by cover"][covers]) for seed in result["seeds"]
        ]
        rows.append(
            [
                f"{k} and more" if last else k,
                f"{result['paper']['by cover'][int(k)]:+.1f} %",
                *(cell(table[arm][k]) for arm in arms),
                f"{sum(counts) / len(counts):.1f}",
            ]
        )
    return markdown(header, rows)


def cell(found: dict) -> str:
    if found["sd"] is None:
        return f"{100 * found['mean']:+.1f} %"
    return gain(found)


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
    return f"{markdown(header, rows)}\n\n{where(result['environment'])}"


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
    return f"{markdown(header, rows)}\n\n{where(result['environment'])}"
