"""Where a result was measured, and where it is kept."""

import importlib.metadata
import json
import os
import pathlib
import platform
from typing import Any

import keras

RESULTS = pathlib.Path(__file__).parent.parent / "results"
_PACKAGES = ("keras", "jax", "tensorflow", "tensorflow-cpu", "torch", "numpy")


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
    return {
        "backend": backend,
        "processor": _processor(),
        "cores": os.cpu_count(),
        "versions": versions,
    }


def _processor() -> str:
    info = pathlib.Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def save_results(name: str, result: Any, folder: str | None = None) -> Any:
    """Writes a result as JSON, whole or not at all."""
    path = pathlib.Path(folder or RESULTS) / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(result, indent=1) + "\n")
    temporary.replace(path)
    return path
