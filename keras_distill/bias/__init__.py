"""Shifted biases: classes that a transfer set omits, or has too many of.

Where these functions take `classes`, that is None for every class by itself, or
a sequence whose entries are class numbers, or groups (sequences) of them whose
logits get one common shift. `amount` has one entry for each.
"""

from keras_distill.bias._shift import (
    fit_bias,
    match_class_frequencies,
    shift_bias,
)

__all__ = ["fit_bias", "match_class_frequencies", "shift_bias"]
