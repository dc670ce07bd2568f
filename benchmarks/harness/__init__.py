"""What the benchmarks share: options, runs that are kept, results, times."""

from benchmarks.harness.data import digits
from benchmarks.harness.machine import (
    device,
    environment,
    in_a_process,
    steady_threads,
)
from benchmarks.harness.models import (
    CROSSENTROPY,
    adam,
    copy_of,
    mlp,
    softmax,
)
from benchmarks.harness.options import arguments
from benchmarks.harness.pictures import draw, new_figure, save_picture
from benchmarks.harness.results import (
    RESULTS,
    load,
    mean_sd,
    paired,
    percent,
    save,
    summary,
)
from benchmarks.harness.runs import Runs, kept_model
from benchmarks.harness.timing import (
    interleaved,
    ratio,
    seconds,
    taking_turns,
)

__all__ = [
    "CROSSENTROPY",
    "RESULTS",
    "Runs",
    "adam",
    "arguments",
    "device",
    "copy_of",
    "digits",
    "draw",
    "environment",
    "in_a_process",
    "interleaved",
    "kept_model",
    "load",
    "mean_sd",
    "mlp",
    "new_figure",
    "paired",
    "percent",
    "ratio",
    "save",
    "save_picture",
    "seconds",
    "softmax",
    "steady_threads",
    "summary",
    "taking_turns",
]
