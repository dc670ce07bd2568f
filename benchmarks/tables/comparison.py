"""What `keras.distillation` does otherwise."""

from benchmarks.harness import load
from benchmarks.tables.formatting import markdown, noted, span


def defects() -> str:
    result = load("compare_keras_distillation")
    rows = [[row["what"], row["keras"], row["ours"]] for row in result["rows"]]
    table = markdown(["", "`keras.distillation`", "`keras_distill`"], rows)
    return noted(table, result["environment"])


def finding() -> str:
    rows = load("compare_keras_distillation")["rows"]
    pairs = [
        pair
        for result in load("step_time").values()
        for pair in result["pairs"].values()
    ]
    times = span(pair["ours / keras"] for pair in pairs)
    return (
        f"{len(rows)} differences from `keras.distillation` are measured; a "
        f"step takes {times} times as long as one of its steps."
    )
