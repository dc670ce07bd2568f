"""Teacher logits that travel with the inputs of their examples."""

import math
from typing import Any, NamedTuple, NoReturn

import keras
from keras import ops

from keras_distill import _data_checks, _kinds

Tensor = Any
_NO_ARRAY = (
    "Inputs with teacher logits are a pair. Received: a kd.WithTeacherLogits "
    "where the inputs alone were expected, as in a map() after attach(). Use "
    "x.inputs, and x._replace(inputs=...) to put new ones beside the logits."
)


class WithTeacherLogits(NamedTuple):
    """Inputs of a student, with the logits that a teacher gave for them.

    Passed as `x` to the `fit` of a Distiller that has no teacher. Keras and the
    data pipelines slice, shuffle and batch both parts together, because they
    see one nested structure. `kd.TeacherCache.attach` makes it; logits that
    were stored by other means can be passed in the same way. To change the
    inputs and keep the logits, use `x._replace(inputs=...)`.

    Args:
        inputs: The student's inputs, whatever their structure.
        teacher_logits: Unnormalised logits, shape `(batch, ..., classes)`.

    Returns:
        The pair, a named tuple.

    Example:

    >>> layers = [keras.Input((4,)), keras.layers.Dense(3)]
    >>> student = keras.Sequential(layers)
    >>> distiller = kd.Distiller(None, student, kd.losses.SoftTargets(4.0))
    >>> distiller.compile("adam")
    >>> x, logits = np.random.rand(8, 4), np.random.rand(8, 3)
    >>> x = kd.WithTeacherLogits(x, logits)
    >>> sorted(distiller.fit(x, verbose=0).history)
    ['loss', 'soft_loss']
    >>> brighter = x._replace(inputs=x.inputs + 0.1)
    >>> sorted(distiller.fit(brighter, verbose=0).history)
    ['loss', 'soft_loss']
    """

    inputs: Any
    teacher_logits: Any


def _refuse(*args: Any, **kwargs: Any) -> NoReturn:
    raise TypeError(_NO_ARRAY)


# The pair is a tuple, which TensorFlow and NumPy would stack, and Python
# repeat, where a function takes it for the inputs.
for _what in ("array", "tf_tensor", "neg", "add", "radd", "sub", "rsub"):
    setattr(WithTeacherLogits, f"__{_what}__", _refuse)
for _what in ("mul", "rmul", "truediv", "rtruediv", "floordiv", "mod", "pow"):
    setattr(WithTeacherLogits, f"__{_what}__", _refuse)


class TopKLogits(NamedTuple):
    """The largest logits of each example, and logsumexp of the others.

    The number of classes is the one key of `log_rest`: a structure is static
    where a value is not, so that a student of another size is refused when a
    step is compiled.
    """

    logits: Any  # (batch, ..., k)
    indices: Any  # (batch, ..., k)
    log_rest: dict[str, Any]  # {"1000": (batch, ...)}

    @property
    def classes(self) -> int:
        [classes] = self.log_rest
        return int(classes)

    @property
    def others(self) -> int:
        """How many classes are not stored."""
        return self.classes - self.indices.shape[-1]


def split(x: Any) -> tuple[Any, Any]:
    """Returns inputs and attached teacher logits, None if there are none."""
    return x if isinstance(x, WithTeacherLogits) else (x, None)


def is_attached(x: Any) -> bool:
    """Whether `x` is what `TeacherCache.attach` makes of arrays."""
    first = x[0] if type(x) is tuple and x else None
    return isinstance(first, WithTeacherLogits)


def unpack(x: Any, y: Any, arguments: dict) -> tuple[Any, Any]:
    """Inputs and labels, and the weights put among the other arguments."""
    if not is_attached(x):
        return x, y
    _data_checks.labels_given_once(y, arguments)
    x, y, weights = keras.utils.unpack_x_y_sample_weight(x)
    arguments["sample_weight"] = weights
    return x, y


def labels_of(data: Any, otherwise: Any) -> Any:
    """Labels of validation data; `...` where only a batch would tell."""
    if data is None:
        return otherwise
    data = getattr(data, "element_spec", data)  # Of a tf.data dataset.
    if isinstance(data, WithTeacherLogits | dict) or hasattr(data, "shape"):
        return None
    if isinstance(data, tuple | list):
        return keras.utils.unpack_x_y_sample_weight(data)[1]
    return ...


def dense(teacher_logits: Any, kind: str = _kinds.CLASSES) -> Any:
    """All logits of each example, with the tail of top-k logits spread out.

    Formula: `v_i` for the k classes that are stored, and `log_rest - log(C -
    k)` for each of the others, so that a softmax at T = 1 gives the k classes
    their exact probabilities, and each of the others the mean of what remains.
    """
    if not isinstance(teacher_logits, TopKLogits):
        return teacher_logits
    if kind != _kinds.CLASSES:
        raise ValueError(
            "The largest logits alone are of use to a loss that compares "
            "classes, for what is left of a softmax is spread over the others. "
            f"Received: logits of a cache with top_k, and a loss that compares "
            f"{kind}. Build the cache with top_k=None."
        )
    values, _ = distinct(teacher_logits, "float32")
    classes, k = teacher_logits.classes, teacher_logits.indices.shape[-1]
    values = ops.reshape(values, (-1, values.shape[-1]))
    spread = ops.repeat(values[:, -1:], classes, axis=-1)
    columns = ops.reshape(ops.cast(teacher_logits.indices, "int32"), (-1, k))
    rows = ops.arange(ops.shape(columns)[0], dtype="int32")[:, None]
    rows = ops.broadcast_to(rows, ops.shape(columns))
    places = ops.reshape(ops.stack([rows, columns], axis=-1), (-1, 2))
    filled = ops.scatter_update(spread, places, ops.reshape(values[:, :k], -1))
    shape = ops.shape(teacher_logits.indices)[:-1]
    return ops.reshape(filled, (*shape, classes))


def distinct(top_k: TopKLogits, dtype: Any) -> tuple[Tensor, Tensor]:
    """The logits that differ, and how many classes have each.

    Returns:
        Shape `(batch, ..., k + 1)`, the last of which is that of the classes
        that are not stored, and `(k + 1,)`; without it where all are stored.
    """
    [log_rest] = top_k.log_rest.values()
    logits, others = ops.cast(top_k.logits, dtype), top_k.others
    counts = [1] * logits.shape[-1]
    if others:
        other = ops.cast(log_rest, dtype) - math.log(others)
        logits = ops.concatenate([logits, other[..., None]], axis=-1)
        counts.append(others)
    return logits, ops.convert_to_tensor(counts, dtype)
