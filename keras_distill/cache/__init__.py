"""Teacher logits computed once, kept on disk, and joined to the examples."""

from keras_distill.cache._teacher_cache import TeacherCache

__all__ = ["TeacherCache"]
