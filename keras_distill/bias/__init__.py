"""Logits after training: biases shifted, and a temperature that calibrates.

Shifts are for classes that a transfer set omits, or has too many of.
Where these functions take `classes`, that is None for every class by itself, or
a sequence whose entries are class numbers, or groups (sequences) of them whose
logits get one common shift. `amount` has one entry for each.
"""

from keras_distill.bias._shift import (
    fit_bias,
    match_class_frequencies,
    shift_bias,
)
from keras_distill.bias._temperature import fit_temperature, scale_logits

__all__ = [
    "fit_bias",
    "fit_temperature",
    "match_class_frequencies",
    "scale_logits",
    "shift_bias",
]
