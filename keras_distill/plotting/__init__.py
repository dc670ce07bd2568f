"""Pictures, drawn by matplotlib: `pip install "keras-distill[plot]"`."""

from keras_distill import _optional

with _optional.imports_of("plot", "kd.plotting"):
    from keras_distill.plotting._covariance import class_covariance
    from keras_distill.plotting._search import search

__all__ = ["class_covariance", "search"]
