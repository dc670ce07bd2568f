"""Small data that need no download."""

import numpy as np


def digits() -> tuple[np.ndarray, np.ndarray]:
    """Scikit-learn's 1,797 images, 64 pixels between 0 and 1, and labels."""
    from sklearn.datasets import load_digits

    x, y = load_digits(return_X_y=True)
    return x.astype("float32") / 16, y.astype("int32")
