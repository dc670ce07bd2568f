"""What a Distiller optimises, and what of its models and data goes together."""

from keras_distill._objective._feature_terms import (
    FeatureLoss,
    Tapped,
    WithFeatures,
    feature_loss,
    untapped,
    without_features,
)
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
    require_something,
    weighted,
)
from keras_distill._objective._whole_batches import require_whole_batch

__all__ = [
    "FeatureLoss",
    "FirstStep",
    "Objective",
    "Output",
    "SoftLoss",
    "Tapped",
    "Targets",
    "WithFeatures",
    "feature_loss",
    "given_or_declared",
    "losses_of",
    "names_of",
    "objective",
    "of_each",
    "of_tensors",
    "require_match",
    "require_something",
    "require_whole_batch",
    "scheduled",
    "soft_outputs",
    "untapped",
    "weighted",
    "with_labels",
    "without_features",
]
