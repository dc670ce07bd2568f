"""Specialists for confusable classes, Hinton et al. 2015, sections 5 and 6."""

from keras_distill.specialists._build import (
    Specialist,
    build_specialist,
    dustbin_correction,
)
from keras_distill.specialists._combine import combine_logits
from keras_distill.specialists._confusable import (
    ConfusableClasses,
    confusable_classes,
)
from keras_distill.specialists._data import SpecialistData, specialist_dataset
from keras_distill.specialists._ensemble import SpecialistEnsemble
from keras_distill.specialists._train import train_specialists

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
