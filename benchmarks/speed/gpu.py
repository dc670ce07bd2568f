"""All that a GPU is asked, in one command.

Question: do the numbers of losses and training steps hold on a GPU, and what do
a step in float32 and in bfloat16 and large outputs cost there? The aims: a step
takes at most 1.03 times a plain student step and a teacher forward pass, 1.0
times one of `keras.distillation`, and 1.05 times a loop written by hand.

Parts, one after the other, each in a process of its own:
  tests           those of losses, transforms and the contract of a Distiller,
                  with products in full precision, as TF32 is good to 1e-3
  step_time       `benchmarks.speed.step_time`, in both precisions
  large_outputs   `benchmarks.speed.large_outputs`

Command: pip install -e ".[jax,benchmarks,test]" "jax[cuda12]"
         KERAS_BACKEND=jax python -m benchmarks.speed.gpu
Minutes: about 15 (a guess: on an H200 parts of it were run).
         `--short` takes a minute, also without a GPU, and proves nothing.
Writes:  benchmarks/results/gpu/*.json, with device and versions, after a part
         each; it stops at the first part that fails.
"""

import os
import pathlib
import subprocess
import sys
from typing import Any

from benchmarks.harness import RESULTS, arguments

NAME = "gpu"
ROOT = pathlib.Path(__file__).parents[2]
TESTS = [
    "test_contract.py",
    "test_losses.py",
    "test_losses_in_a_distiller.py",
    "test_top_k.py",
    "test_transforms.py",
]
SHORT = ["test_transforms.py"]
# A step takes less than a millisecond there, and a first step seconds.
STEPS = ["--longer", "4", "--repeats", "9", "--steps_only"]
PRECISE = {"JAX_DEFAULT_MATMUL_PRECISION": "highest"}
# JAX here would keep most of the GPU's memory from the parts.
_PLATFORM = "import jax; print(jax.devices()[0].platform)"


def python(*options: str, **how: Any) -> subprocess.CompletedProcess:
    command = [sys.executable, *options]
    return subprocess.run(command, cwd=ROOT, check=True, **how)


def require_gpu() -> None:
    found = python("-c", _PLATFORM, capture_output=True, text=True)
    platform = found.stdout.strip()
    if platform not in ("gpu", "cuda", "rocm"):
        raise SystemExit(
            f"A GPU is needed. Received: JAX on {platform!r}. Install "
            '"jax[cuda12]", or try the command with --short.'
        )


def main() -> None:
    options = arguments(__doc__, NAME)
    short = ["--short"] if options.short else []
    if not options.short:
        require_gpu()
    tests = [f"tests/{name}" for name in (SHORT if short else TESTS)]
    python("-m", "pytest", "-q", *tests, env={**os.environ, **PRECISE})
    common = [*short, "--out", options.out or str(RESULTS / NAME)]
    steps = "benchmarks.speed.step_time", *([] if short else STEPS)
    for policy in ("float32", "mixed_bfloat16"):
        python("-m", *steps, "--policy", policy, *common)
    python("-m", "benchmarks.speed.large_outputs", *common)


if __name__ == "__main__":
    main()
