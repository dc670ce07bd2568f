"""keras_distill: knowledge distillation for Keras 3."""

from keras_distill import losses, transforms

__version__ = "0.1.0"

__all__ = ["losses", "transforms"]
