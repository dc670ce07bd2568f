"""What a benchmark can be asked on the command line."""

import argparse
from typing import Any

from benchmarks.harness.results import RESULTS

_COMMON: dict[str, dict[str, Any]] = {
    "short": {"action": "store_true", "help": "a quick check"},
    "out": {"help": "folder for the results, those committed if left out"},
}
_SOME: dict[str, dict[str, Any]] = {
    "data_dir": {"help": "folder of TFDS data; downloaded if left out"},
    "plot": {
        "action": "store_true",
        "help": "draw the picture of the result that is there, run nothing",
    },
    "work": {"help": "where finished runs are kept"},
}


def arguments(doc: str, name: str, *some: str, **own: dict[str, Any]) -> Any:
    """Parses the command line: `--short`, `--out`, and more by name.

    A short run without `--out` leaves the committed results alone. What takes
    `work` has also `begun`, the file of runs that were committed.

    Args:
        doc: Docstring of the benchmark; its first line is the description.
        name: Of the benchmark.
        *some: Of `data_dir`, `plot` and `work`.
        **own: What this benchmark alone is asked, as `add_argument` takes it.
    """
    parser = argparse.ArgumentParser(description=doc.splitlines()[0])
    asked = _COMMON | {key: _SOME[key] for key in some} | own
    for key, settings in asked.items():
        parser.add_argument(f"--{key}", **settings)
    options = parser.parse_args()
    if options.short:
        options.out = options.out or ".work/short"
    if "work" in some:
        work = f".work/{name}" + ("-short" if options.short else "")
        options.work = options.work or work
        begun = RESULTS / "runs" / f"{name}.jsonl.gz"
        options.begun = None if options.short else begun
    return options
