"""Lets XLA compile for JAX in a third of the time.

Tests compile hundreds of small steps and run each of them a few times: what
makes a step fast is lost on them.
"""

import os
import subprocess
import sys

FLAGS = "--xla_cpu_use_fusion_emitters=false --xla_backend_optimization_level=0"
_OPTIMISED = {
    "xla_cpu_use_fusion_emitters": True,
    "xla_backend_optimization_level": 3,
}
_TRIED = "import jax; jax.jit(lambda x: x + 1)(1.0)"


def hurry():
    """Sets the flags where JAX knows them; another version may end the process.

    Processes that are started inherit them.
    """
    jax = os.environ.get("KERAS_BACKEND") == "jax"
    if not jax or "XLA_FLAGS" in os.environ:
        return
    environment = {**os.environ, "XLA_FLAGS": FLAGS}
    command = [sys.executable, "-c", _TRIED]
    tried = subprocess.run(command, env=environment, capture_output=True)
    os.environ["XLA_FLAGS"] = FLAGS if tried.returncode == 0 else ""


def optimised(lowered):
    """What a test asks for that is about what XLA makes of a step."""
    import jax

    on_a_cpu = jax.default_backend() == "cpu"
    return lowered.compile(_OPTIMISED if on_a_cpu else None)
