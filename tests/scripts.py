"""Runs what is run from the command line, as a user does."""

import os
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).parent.parent


def run_module(name, *arguments, **environment):
    """What `python -m name` prints in the repository's folder."""
    done = subprocess.run(
        [sys.executable, "-m", name, *map(str, arguments)],
        cwd=ROOT,
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        # On busy cores torch's threads would spin while they wait.
        env={
            **os.environ,
            "OMP_WAIT_POLICY": "passive",
            "TF_CPP_MIN_LOG_LEVEL": "3",
            **environment,
        },
    )
    return done.stdout
