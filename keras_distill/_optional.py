"""Packages that only some of this one needs, each brought by an extra."""

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
