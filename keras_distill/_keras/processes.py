"""Processes that work together: those of JAX, and the ranks of torch."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np


def is_spread(array: Any) -> bool:
    """Whether an array lies in pieces, and no process of JAX has them all.

    Each process must come to what is computed from it, with the same data.
    """
    if not hasattr(array, "is_fully_addressable"):
        return False
    return not (array.is_fully_addressable or array.is_fully_replicated)


def parts_here(array: Any) -> list:
    """The parts of an array of JAX that lie on devices of this process."""
    if (
        array.is_fully_replicated
        and len(array.sharding.addressable_devices) < 2
    ):
        # JAX 0.10 does not list the shards of one that was moved there from
        # the one device of this process.
        return [array.addressable_data(0)]
    return [shard.data for shard in array.addressable_shards]


def gathered(found: Any) -> np.ndarray:
    """What each process of JAX has found, in their order, on all of them.

    Args:
        found: Whole numbers below 2^32, of the same shape in each process. JAX
            has no 64 bits, unless they are switched on.
    """
    from jax.experimental import multihost_utils

    values = np.asarray(found, "uint32")
    return np.ascontiguousarray(multihost_utils.process_allgather(values))


def first_other(found: Any) -> int | None:
    """The first process that has found another thing than process 0."""
    values = gathered(found)
    for process, value in enumerate(values):
        if not np.array_equal(value, values[0]):
            return process
    return None


def in_one_program(function: Callable) -> Callable:
    """A function of JAX, compiled anew if several processes run it together.

    Else each would run its operations one by one, several at a time, in any
    order, and those that gather or sum over processes wait for each other.
    """
    import jax

    if jax.process_count() == 1:
        return function
    return jax.jit(lambda *values: function(*values))


def require_one_rank() -> None:
    """Refuses ranks of torch, between which Keras's loops exchange nothing.

    Raises:
        RuntimeError: If there are several.
    """
    if keras.backend.backend() != "torch":
        return
    import torch.distributed as ranks

    if not (ranks.is_available() and ranks.is_initialized()):
        return
    count = ranks.get_world_size()
    if count > 1:
        raise RuntimeError(
            "On torch Keras's loops exchange no gradients: each rank would "
            "train a student of its own. Received: torch.distributed with "
            f"{count} ranks, of which this is rank {ranks.get_rank()}. Write "
            "the loop yourself, with torch.nn.parallel.DistributedDataParallel"
            "(student) and the losses of kd.losses: "
            "examples/from_a_laptop_to_a_pod.md has one. Or use JAX, where "
            "`fit` trains on many hosts."
        )
