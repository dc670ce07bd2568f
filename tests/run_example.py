"""Runs an example as a user does, in short mode."""

import os
import pathlib
import subprocess
import sys

EXAMPLES = pathlib.Path(__file__).parent.parent / "examples"


def run_example(name: str, folder: pathlib.Path) -> str:
    """Returns what the script printed; it writes its files to `folder`."""
    done = subprocess.run(
        [sys.executable, EXAMPLES / name, "--short"],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        cwd=folder,
        # On busy cores torch's threads would spin while they wait.
        env={**os.environ, "OMP_WAIT_POLICY": "passive"},
    )
    return done.stdout


def percentages(output: str) -> dict[str, list[float]]:
    """Per printed row that ends in percentages: its name, and these."""
    rows = {}
    for line in output.splitlines():
        name, *cells = line.split("  ")
        values = [cell.strip() for cell in cells if cell.strip()]
        if values and all(value.endswith("%") for value in values):
            rows[name] = [float(value[:-1]) for value in values]
    return rows
