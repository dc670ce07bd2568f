"""What a loss that compares the examples of a batch cannot be given."""

from typing import Any

from keras_distill._keras.sample_weights import mask_of
from keras_distill._keras.trainer import replicas

Tensor = Any


def require_whole_batch(loss: Any, student: Tensor, sample_weight: Any) -> None:
    """Refuses weights, masks and replicas, unless a loss is `per_example`."""
    if getattr(loss, "per_example", True):
        return
    name = type(loss).__name__
    if sample_weight is not None or mask_of(student) is not None:
        found = "a mask" if sample_weight is None else "sample weights"
        raise ValueError(
            f"{name} compares the examples of a batch, which are not weighed "
            f"one by one. Received: {found}. Leave out the examples that are "
            "not to count, or take a loss of single examples, such as "
            "kd.losses.SoftTargets(temperature=4.0)."
        )
    count = replicas()
    if count > 1:
        raise ValueError(
            f"{name} compares the examples of a batch, of which a replica of "
            f"TensorFlow sees a part. Received: {count} replicas. Train on "
            "one, on JAX with keras.distribution.DataParallel, or with a loss "
            "of single examples."
        )
