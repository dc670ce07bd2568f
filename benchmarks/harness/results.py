"""Results, which are JSON files, and the numbers in them."""

import contextlib
import json
import pathlib
import statistics
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import keras
import numpy as np

RESULTS = pathlib.Path(__file__).parents[1] / "results"


@contextlib.contextmanager
def replacing(path: pathlib.Path) -> Iterator[pathlib.Path]:
    """A file to write, which then becomes `path`, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"new-{path.name}")
    yield temporary
    temporary.replace(path)


def write(path: pathlib.Path, content: Any) -> None:
    with replacing(path) as file:
        file.write_text(json.dumps(content, indent=1) + "\n")


def save(
    name: str,
    result: Any,
    folder: str | pathlib.Path | None = None,
    by_backend: bool = False,
) -> pathlib.Path:
    """Writes a result; `by_backend`, beside those of other backends."""
    path = pathlib.Path(folder or RESULTS) / f"{name}.json"
    if by_backend:
        others = load(name, folder) if path.exists() else {}
        result = {**others, keras.backend.backend(): result}
    write(path, result)
    return path


def load(name: str, folder: str | pathlib.Path | None = None) -> Any:
    """The result of that name, the committed one unless there is a folder."""
    return json.loads(
        (pathlib.Path(folder or RESULTS, name + ".json")).read_text()
    )


def summary(values: Iterable[float]) -> dict[str, Any]:
    """Mean, standard deviation and the values, in the order of the seeds."""
    values = list(values)
    return {
        "mean": statistics.mean(values),
        "sd": statistics.stdev(values) if len(values) > 1 else None,
        "values": values,
    }


def paired(ours: Sequence[float], theirs: Sequence[float]) -> dict[str, Any]:
    """Mean difference over seeds, and its 95 % interval by Student's t."""
    from scipy.stats import ttest_rel

    interval = ttest_rel(ours, theirs).confidence_interval(0.95)
    return {
        "mean": statistics.mean(np.subtract(ours, theirs).tolist()),
        "interval": [float(interval.low), float(interval.high)],
    }


def mean_sd(
    found: dict,
    digits: int = 1,
    scale: float = 1.0,
    unit: str = "",
    sign: str = "",
) -> str:
    """Mean and, where there is one, standard deviation, times `scale`."""
    mean = f"{scale * found['mean']:{sign}.{digits}f}{unit}"
    if found["sd"] is None:
        return mean
    return f"{mean} (sd {scale * found['sd']:.{digits}f})"


def percent(found: dict, digits: int = 1) -> str:
    """Shares of 1."""
    return mean_sd(found, digits, 100, "%")
