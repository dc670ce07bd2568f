"""Section 4 of Hinton et al. 2015: speech."""

from benchmarks.harness import load, percent
from benchmarks.tables.formatting import Row, markdown, noted
from benchmarks.tables.verdicts import at_least

ARMS = {
    "single": "single",
    "ensemble": "ensemble, arithmetic",
    "distilled": "T = 2",
}
_SCATTER = "students scatter as much as the gain"


def claims() -> list[Row]:
    """Frames named rightly, and the share of the gain that is kept."""
    result = load("spoken_digits")
    found, paper = result["all takes"], result["paper"]
    seeds = str(len(found["gain"]["values"]))
    rows = [
        [
            f"speech frames, ensemble of 10: {what}",
            f"{paper[what]['frame_accuracy']:.1%}",
            percent(right(found["state error"][arm])),
            "",
            seeds,
        ]
        for what, arm in ARMS.items()
    ]
    kept = found["gain kept"][ARMS["distilled"]]
    rows.append(
        [
            "share of the ensemble's gain that is kept, T = 2",
            f"{paper['gain_kept']:.0%}",
            percent(kept, 0),
            at_least(kept["mean"], paper["gain_kept"], _SCATTER),
            seeds,
        ]
    )
    return rows


def right(wrong: dict) -> dict:
    """The share that is right, of one that is wrong."""
    return wrong | {"mean": 1 - wrong["mean"]}


def table() -> str:
    result = load("spoken_digits")
    rows = [*paper_rows(result["paper"])]
    for takes in ("all takes", "even takes"):
        rows += rows_of(takes, result[takes])
    header = ["members", "model", "state error", "utterance error", "gain kept"]
    return noted(markdown(header, rows), result["environment"])


def paper_rows(paper: dict) -> list[Row]:
    return [
        [
            "paper",
            what,
            f"{1 - paper[what]['frame_accuracy']:.1%}",
            f"{paper[what]['word_error']:.1%} (words)",
            f"{paper['gain_kept']:.0%}" if what == "distilled" else "",
        ]
        for what in ARMS
    ]


def rows_of(takes: str, found: dict) -> list[Row]:
    return [
        [
            takes,
            arm,
            percent(errors, 2),
            percent(found["utterance error"][arm], 2),
            percent(found["gain kept"][arm], 0)
            if arm in found["gain kept"]
            else "",
        ]
        for arm, errors in found["state error"].items()
    ]


def tuning() -> str:
    """Held-out errors by learning rate and updates, in a sentence."""
    result = load("spoken_digits")["tuning"]
    settings = [
        f"{setting}: {', '.join(held_out(found['state error']))}"
        for setting, found in result.items()
    ]
    return (
        "Held-out takes, one seed; single networks, ensembles of five, and the "
        f"student at T = 2: {'; '.join(settings)}."
    )


def held_out(errors: dict) -> list[str]:
    return [f"{errors[arm]['mean']:.1%}" for arm in ARMS.values()]


def finding() -> str:
    result = load("spoken_digits")
    found, paper = result["all takes"], result["paper"]["gain_kept"]
    errors = found["state error"]
    single, together = (
        percent(right(errors[ARMS[which]]), 1)
        for which in ("single", "ensemble")
    )
    kept = percent(found["gain kept"][ARMS["distilled"]], 0)
    return (
        f"Single networks name {single} of the states of speech rightly, 10 "
        f"together {together}; a student of the 10 keeps {kept} of that gain "
        f"(paper: {paper:.0%})."
    )
