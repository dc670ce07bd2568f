"""Packages that only some of this one needs, each brought by an extra.

A module that is of no use without one imports it at its top, and is itself
imported on demand, by the `__getattr__` of its package. Where a single function
needs one, the function imports it.
"""

import contextlib
from collections.abc import Iterator

_PACKAGES = {
    "plot": "matplotlib",
    "specialists": "scikit-learn",
    "tuner": "keras-tuner",
}


@contextlib.contextmanager
def imports_of(extra: str, user: str) -> Iterator[None]:
    """Context of imports that fail with the name of the extra they need."""
    try:
        yield
    except ImportError as error:
        raise ImportError(
            f"{user} needs {_PACKAGES[extra]}, which could not be imported: "
            f'{error}. Run: pip install "keras-distill[{extra}]"'
        ) from error
