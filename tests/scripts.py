"""Runs what is run from the command line, as a user does."""

import os
import pathlib
import socket
import subprocess
import sys

ROOT = pathlib.Path(__file__).parent.parent


def run_module(name, *arguments, **environment):
    """What `python -m name` prints in the repository's folder."""
    return _printed(["-m", name, *map(str, arguments)], ROOT, environment)


def run_example(name, folder):
    """What an example prints in short mode; it writes its files to `folder`."""
    return _printed([ROOT / "examples" / name, "--short"], folder, {})


def _printed(arguments, folder, environment):
    quiet = {"OMP_WAIT_POLICY": "passive", "TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        # On busy cores torch's threads would spin while they wait.
        env={**os.environ, **quiet, **environment},
    )
    return done.stdout


def free_port():
    """A port of this machine that a job may use."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def percentages(output):
    """Per printed row that ends in percentages: its name, and these."""
    rows = {}
    for line in output.splitlines():
        name, *cells = line.split("  ")
        values = [cell.strip() for cell in cells if cell.strip()]
        if values and all(value.endswith("%") for value in values):
            rows[name] = [float(value[:-1]) for value in values]
    return rows
