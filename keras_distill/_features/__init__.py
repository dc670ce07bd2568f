"""Features: what inner layers of teacher and student give, made comparable."""

from keras_distill._features._feature import Feature, checked
from keras_distill._features._layers import Layers
from keras_distill._features._projectors import (
    built,
    default_projector,
    projected,
    require_comparable,
)

__all__ = [
    "Feature",
    "Layers",
    "built",
    "checked",
    "default_projector",
    "projected",
    "require_comparable",
]
