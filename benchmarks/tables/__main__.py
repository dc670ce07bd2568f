"""Writes the tables of the README from the committed result files.

Command: python -m benchmarks.tables          rewrites README.md
         python -m benchmarks.tables --check  fails if it would change it
"""

import argparse
import pathlib
import re
import sys

from benchmarks.tables import paper, specialists
from benchmarks.tables.formatting import load, markdown, percent, where

ROOT = pathlib.Path(__file__).parents[2]


def quickstart() -> str:
    result = load("quickstart")
    teacher = result["teacher"]
    rows = [
        [
            "teacher, trained on 1,200 images",
            f"{teacher['accuracy']:.1%}",
            "",
            f"{teacher['parameters']:,}",
            f"{teacher['bytes'] / 1000:.0f} kB",
        ]
    ]
    for name, arm in result["arms"].items():
        rows.append(
            [
                f"student, 100 images, {name}",
                percent(arm["accuracy"]),
                percent(arm["agreement"]),
                f"{arm['parameters']:,}",
                f"{arm['bytes'] / 1000:.0f} kB",
            ]
        )
    header = ["digits", "test accuracy", "agrees with teacher", "parameters"]
    table = markdown([*header, "file"], rows)
    seeds = len(next(iter(result["arms"].values()))["seeds"])
    note = (
        f"Mean and standard deviation over {seeds} seeds on "
        f"{result['test_images']} test images; settings chosen on held-out "
        "training images; by `examples/quickstart.py` on "
    )
    environment = {**result["hardware"], "versions": result["versions"]}
    return f"{table}\n\n{note}{where(environment)}"


def defects() -> str:
    result = load("compare_keras_distillation")
    rows = [[row["what"], row["keras"], row["ours"]] for row in result["rows"]]
    table = markdown(["", "`keras.distillation`", "`keras_distill`"], rows)
    return f"{table}\n\n{where(result['environment'])}"


def step_time() -> str:
    rows, notes = [], []
    for backend, result in load("step_time").items():
        notes.append(where(result["environment"]))
        for name, pair in result["pairs"].items():
            by_hand = pair.get("ours / hand_written")
            rows.append(
                [
                    backend,
                    name,
                    f"{pair['step_ms']['ours']:.1f} ms",
                    f"{pair['ours / (student + teacher)']:.2f}",
                    f"{pair['ours / keras']:.2f}",
                    f"{by_hand:.2f}" if by_hand else "",
                    f"{pair['first step, ours / keras']:.2f}",
                ]
            )
    header = [
        "backend",
        "pair",
        "our step",
        "/ (student + teacher)",
        "/ `keras.distillation`",
        "/ hand-written JAX",
        "first step / `keras.distillation`",
    ]
    return "\n\n".join([markdown(header, rows), *dict.fromkeys(notes)])


def teacher_cache() -> str:
    rows, notes = [], []
    for backend, result in load("teacher_cache").items():
        notes.append(where(result["environment"]))
        building = result["build"]
        for key, read in result["read"].items():
            pipeline = key.split(", ")[0]
            throughput = building[pipeline]["throughput, build / predict"]
            rows.append(
                [
                    backend,
                    key,
                    f"{read['step_ms']['plain']:.1f} ms",
                    f"{read['all logits / plain']:.2f}",
                    f"{read['top 50 / plain']:.2f}",
                    f"{throughput:.2f}",
                ]
            )
    header = [
        "backend",
        "pipeline, student",
        "plain step",
        "cached / plain",
        "top 50 / plain",
        "build / `predict`",
    ]
    return "\n\n".join([markdown(header, rows), *dict.fromkeys(notes)])


def cache_memory() -> str:
    rows = []
    for backend, result in load("teacher_cache").items():
        sizes = result["memory"]
        rows.append(
            [backend]
            + [f"{size['cache_mb']:.0f} MB" for size in sizes.values()]
            + [f"{size['peak_resident_mb']:.0f} MB" for size in sizes.values()]
        )
    header = ["backend", "cache", "8 x", "peak memory", "peak memory, 8 x"]
    return markdown(header, rows)


def cache_losses() -> str:
    """One backend: the errors are those of the stored logits."""
    result = next(iter(load("teacher_cache").values()))
    rows = [
        [stored]
        + [
            f"{error['value']:.0e}, {error['gradient']:.0e}"
            for error in losses.values()
        ]
        for stored, losses in result["losses"].items()
    ]
    names = next(iter(result["losses"].values()))
    return markdown(["stored as", *(f"`{name}`" for name in names)], rows)


def temperature_search() -> str:
    rows, notes = [], []
    labels = {
        "cached": "`kd.tuner`, `kd.TeacherCache` (building it included)",
        "live": "`kd.tuner`, teacher in each step",
        "keras": "`keras.distillation.Distiller`",
    }
    for backend, result in load("temperature_search").items():
        notes.append(where(result["environment"]))
        for arm, label in labels.items():
            ratio = 1.0 if arm == "cached" else result[f"{arm} / cached"]
            trials = len(result[arm]["trials"])
            rows.append(
                [
                    backend,
                    label,
                    str(trials),
                    f"{result[arm]['seconds'] / trials:.1f} s",
                    f"{ratio:.1f} x",
                    f"{result[arm]['mean_val_accuracy']:.2%}",
                    f"{result[arm]['best_val_accuracy']:.2%}",
                ]
            )
    header = ["backend", "search", "trials", "per trial", "/ cached"]
    header += ["mean accuracy", "best accuracy"]
    return "\n\n".join([markdown(header, rows), *dict.fromkeys(notes)])


TABLES = {
    "quickstart": quickstart,
    "defects": defects,
    "step time": step_time,
    "teacher cache": teacher_cache,
    "cache memory": cache_memory,
    "cache losses": cache_losses,
    "temperature search": temperature_search,
    "claims": paper.claims,
    "mnist students": paper.mnist_students,
    "few and wrong labels": paper.regularizers,
    "spoken digits": paper.spoken_digits,
    "confusable classes": specialists.confusable,
    "specialists": specialists.experiment,
    "specialists by cover": specialists.cover,
    "specialist inference": specialists.inference,
}


def rewritten(text: str) -> str:
    for name, make in TABLES.items():
        begin, end = f"<!-- table: {name} -->", "<!-- end -->"
        pattern = re.escape(begin) + ".*?" + re.escape(end)
        replacement = f"{begin}\n{make()}\n{end}"
        text, count = re.subn(
            pattern, lambda _, r=replacement: r, text, flags=re.DOTALL
        )
        if count != 1:
            raise ValueError(f"README.md needs one {begin!r}; it has {count}.")
    return text


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true")
    readme = ROOT / "README.md"
    text = readme.read_text()
    new = rewritten(text)
    if parser.parse_args().check:
        sys.exit(new != text)
    readme.write_text(new)


if __name__ == "__main__":
    main()
