"""What a worker finds on simulated devices, in a process of its own.

Devices are configured before their first use.
"""

import functools
import importlib.util
import json
import os
import pathlib
import subprocess
import sys

import pytest

FOLDER = pathlib.Path(__file__).parent
# XLA has a thread for each simulated device, and devices that wait for each
# other wait for ever when one of them is at something else.
THREADS = {"PJRT_NPROC": "16"}


def needs(*modules):
    """For who has fewer packages than `tox run -e benchmarks`."""
    missing = [m for m in modules if importlib.util.find_spec(m) is None]
    return pytest.mark.skipif(missing != [], reason=f"without {missing}")


@functools.cache
def results(worker, backend, *arguments, devices=2):
    """The JSON that it prints last."""
    settings = {"KERAS_BACKEND": backend, "SIMULATED_DEVICES": str(devices)}
    done = subprocess.run(
        [sys.executable, FOLDER / worker, *map(str, arguments)],
        env={**os.environ, **THREADS, **settings},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])
