"""Tables of the README on specialists."""

from formatting import load, markdown, percent, where

Row = list[str]


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
    result = load("specialist_inference")
    found = result["combination"]
    seconds = found["seconds, image and batch scaled from a sample"]
    rows = [
        ["`kd.specialists.combine_logits`", f"{seconds['ours']:.2f} s", "1"],
        [
            "gradient descent on all images of a batch",
            f"over {seconds['batch']:,.0f} s",
            f"over {found['batch / ours']:,.0f}",
        ],
        [
            "gradient descent image by image, as in the paper",
            f"over {seconds['image']:,.0f} s",
            f"over {found['image / ours']:,.0f}",
        ],
    ]
    header = ["10,000 images, 1,000 classes, 20 specialists", "time"]
    header += ["/ ours"]
    return f"{markdown(header, rows)}\n\n{where(result['environment'])}"
