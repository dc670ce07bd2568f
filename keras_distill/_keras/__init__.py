"""The one room for what Keras and its backends do not promise.

Everything that uses a private or undocumented name of Keras is in here, each
name covered by `tests/test_keras_internals.py`, which says what breaks without
it.
"""
