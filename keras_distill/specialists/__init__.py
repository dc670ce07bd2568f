"""Specialists for confusable classes, Hinton et al. 2015, sections 5 and 6."""

from keras_distill.specialists.build import (
    Specialist,
    build_specialist,
    dustbin_correction,
)
from keras_distill.specialists.combine import combine_logits
from keras_distill.specialists.confusable import (
    ConfusableClasses,
    confusable_classes,
)
from keras_distill.specialists.data import SpecialistData, specialist_dataset
from keras_distill.specialists.ensemble import SpecialistEnsemble
from keras_distill.specialists.train import train_specialists

__all__ = [
    "ConfusableClasses",
    "Specialist",
    "SpecialistData",
    "SpecialistEnsemble",
    "build_specialist",
    "combine_logits",
    "confusable_classes",
    "dustbin_correction",
    "specialist_dataset",
    "train_specialists",
]
