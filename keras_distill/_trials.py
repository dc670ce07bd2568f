"""What a tuner of keras-tuner, which is not imported here, is in a trial."""

import os
from collections.abc import Iterable
from typing import Any


def tuner_of(callbacks: Iterable | None) -> Any:
    """The tuner that passes these callbacks to a fit, or None."""
    for callback in callbacks or ():
        tuner = getattr(callback, "tuner", None)
        if hasattr(tuner, "oracle"):
            return tuner
    return None


def folder_of_programs(tuner: Any) -> str | None:
    """Where a tuner keeps what its search compiles."""
    # A bucket of a cloud's has no such folder.
    if tuner is None or not os.path.isdir(tuner.project_dir):
        return None
    return f"{tuner.project_dir}/compiled/{tuner.tuner_id}"


def incomparable(tuner: Any) -> str | None:
    """What is wrong with an objective that losses and weights scale."""
    objective = tuner.oracle.objective if tuner else None
    for one in getattr(objective, "objectives", [objective]):
        name = getattr(one, "name", "")
        if name == "loss" or name.endswith("soft_loss"):
            return (
                "The objective must be one that trials can be compared by. "
                f"Received: objective={name!r}, of training, which each loss, "
                'temperature and weight scales in its own way. Pass "'
                'val_accuracy", another compiled metric, or "val_loss".'
            )
    return None


def without_a_source(error: Exception) -> str:
    """What ends a search on data that no trial can train on."""
    return (
        f"No trial can train on these data: {error} In a search that is: "
        "either kd.tuner.DistillationHyperModel(build_student, teacher, ...), "
        "or tuner.search on what kd.TeacherCache.attach returns."
    )
