"""Where a result was measured, and processes of their own on it."""

import importlib.metadata
import os
import pathlib
import platform
import subprocess
import sys
from typing import Any

import keras

_PACKAGES = ("keras", "jax", "tensorflow", "tensorflow-cpu", "torch", "numpy")
_ROOT = pathlib.Path(__file__).parents[2]


def environment(*packages: str) -> dict[str, Any]:
    """Hardware and versions of this run, of some packages in addition."""
    versions = {"python": platform.python_version()}
    backend = keras.backend.backend()
    always = ("keras", "numpy", *packages)
    for package in (*_PACKAGES, *packages):
        if package in always or package.startswith(backend):
            try:
                versions[package] = importlib.metadata.version(package)
            except importlib.metadata.PackageNotFoundError:
                continue
    found = {
        "backend": backend,
        "processor": _processor(),
        "cores": os.cpu_count(),
        "versions": versions,
    }
    accelerator = device()
    if accelerator not in (None, "cpu"):
        found["device"] = accelerator
    return found


def device() -> str | None:
    """What JAX computes on, such as the name of a GPU; None elsewhere."""
    if keras.backend.backend() != "jax":
        return None
    import jax

    return jax.devices()[0].device_kind


def _processor() -> str:
    info = pathlib.Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def steady_threads() -> None:
    """On TensorFlow one thread, to be asked for before anything runs.

    With two on two cores many a step waits, of whatever model, and times fall
    into clusters.
    """
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        tf.config.threading.set_intra_op_parallelism_threads(1)
        tf.config.threading.set_inter_op_parallelism_threads(1)


def in_a_process(module: str, *arguments: str, **variables: str) -> str:
    """The last line that `python -m module` prints."""
    done = subprocess.run(
        [sys.executable, "-m", module, *arguments],
        cwd=_ROOT,
        env={**os.environ, **variables},
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    return done.stdout.splitlines()[-1]
