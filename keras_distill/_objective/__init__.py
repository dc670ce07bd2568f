"""What a Distiller optimises, and what of its models and data goes together."""

from keras_distill._objective._first_step import FirstStep
from keras_distill._objective._labels import with_labels
from keras_distill._objective._match import (
    losses_of,
    require_match,
    scheduled,
    soft_outputs,
)
from keras_distill._objective._outputs import (
    Output,
    names_of,
    of_each,
    of_tensors,
)
from keras_distill._objective._terms import (
    Objective,
    SoftLoss,
    Targets,
    given_or_declared,
    objective,
    weighted,
)
from keras_distill._objective._whole_batches import require_whole_batch

__all__ = [
    "FirstStep",
    "Objective",
    "Output",
    "SoftLoss",
    "Targets",
    "given_or_declared",
    "losses_of",
    "names_of",
    "objective",
    "of_each",
    "of_tensors",
    "require_match",
    "require_whole_batch",
    "scheduled",
    "soft_outputs",
    "weighted",
    "with_labels",
]
