"""Section 4 of Hinton et al. 2015: speech."""

from benchmarks.harness import load, percent
from benchmarks.tables.formatting import Row, markdown, noted
from benchmarks.tables.verdicts import at_least

_EASY = "on training frames the ensemble says what the labels say"


def claims() -> list[Row]:
    """Frame accuracies on known speakers."""
    result = load("spoken_digits")
    found, paper = result["takes"], result["paper"]
    seeds = str(len(found["folds"]))
    arms = {
        "single": "single",
        "ensemble": "arithmetic",
        "distilled": found["chosen"],
    }
    rows = [
        [
            f"speech frames, ensemble of 10: {what}",
            f"{paper[what]['frame_accuracy']:.1%}",
            percent(found["arms"][arm]["frame_accuracy"]),
            "",
            seeds,
        ]
        for what, arm in arms.items()
    ]
    kept = found["gain_kept"][found["chosen"]]
    rows.append(
        [
            "share of the ensemble's gain that is kept",
            f"{paper['gain_kept']:.0%}",
            percent(kept, 0),
            at_least(kept["mean"], paper["gain_kept"], _EASY),
            seeds,
        ]
    )
    return rows


def table() -> str:
    result = load("spoken_digits")
    paper = result["paper"]
    arms = {
        "single": "single",
        "ensemble": "ensemble",
        "distilled": "distilled",
    }
    rows = [
        [
            "paper",
            label,
            f"{paper[arm]['frame_accuracy']:.1%}",
            f"{paper[arm]['word_error']:.1%} (words)",
            f"{paper['gain_kept']:.0%}" if arm == "distilled" else "",
        ]
        for arm, label in arms.items()
    ]
    kinds = {"takes": "{} seeds", "speakers": "{} pairs of unseen speakers"}
    for kind, label in kinds.items():
        one = result[kind]
        count = label.format(len(one["folds"]))
        for arm, metrics in one["arms"].items():
            kept = one["gain_kept"].get(arm)
            rows.append(
                [
                    count,
                    arm_name(arm, one["chosen"]),
                    percent(metrics["frame_accuracy"]),
                    percent(metrics["utterance_error"], 2),
                    percent(kept, 0) if kept else "",
                ]
            )
    header = ["spoken digits", "model", "frame accuracy", "utterance error"]
    table = markdown([*header, "gain kept"], rows)
    return noted(table, result["environment"])


def arm_name(arm: str, chosen: str) -> str:
    if arm in ("arithmetic", "geometric"):
        return f"ensemble, {arm} mean"
    return f"{arm} (chosen)" if arm == chosen else arm


def finding() -> str:
    result = load("spoken_digits")
    found, paper = result["takes"], result["paper"]["gain_kept"]
    single, together = (
        percent(found["arms"][arm]["frame_accuracy"])
        for arm in ("single", "arithmetic")
    )
    kept = percent(found["gain_kept"][found["chosen"]], 0)
    return (
        f"Single networks get {single} of the frames right, 10 together "
        f"{together}; a student of the 10 keeps {kept} of that gain "
        f"(paper: {paper:.0%})."
    )
