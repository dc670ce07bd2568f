"""Of which kind the file is that Keras is writing."""

import sys


def writes_legacy_file() -> bool:
    """Whether Keras asks for configs for a whole model in one `.h5` file."""
    state = sys.modules.get("keras.src.backend.common.global_state")
    get = getattr(state, "get_global_attribute", None)
    return bool(get and get("use_legacy_config", False))
