"""A model's graph: what its outputs end in, and its last layer replaced.

The way back from an output goes by the history that Keras keeps of symbolic
tensors. `keras.models.clone_model` with a `clone_function` replaces a layer
without it, but wherever the layer is used, and it calls all other layers again.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import keras

from keras_distill import _kinds

Tensor = Any

# Layers that keep a distribution a distribution, so a softmax before them
# counts as the model's last activation.
_PASS_THROUGH = (
    keras.layers.Dropout,
    keras.layers.Flatten,
    keras.layers.Permute,
    keras.layers.Reshape,
)


def activation_of(operation: Any) -> str | None:
    """Returns "softmax" or "sigmoid" if an operation ends in one."""
    if isinstance(operation, keras.Model):
        return None  # An attribute need not be what it ends in.
    if isinstance(operation, keras.layers.TimeDistributed):
        return activation_of(operation.layer)
    # A Softmax or Sigmoid is a layer, or the operation behind `keras.ops`.
    kind = type(operation).__name__.lower()
    activation = getattr(operation, "activation", None)
    name = getattr(activation, "__name__", None) or kind
    name = {"softmax_v2": "softmax"}.get(name, name)  # tf.nn.softmax
    return name if name in ("softmax", "sigmoid") else None


def output_activations(model: keras.Model) -> set[str]:
    """Returns which of "softmax" and "sigmoid" a model's outputs end in.

    Only what the graph of a Functional or Sequential model says; empty for a
    subclassed model.
    """
    return {name for name in activations(model) if name}


def activations(model: keras.Model) -> list[str | None]:
    """Returns which of the two each output ends in, in order."""
    return [head.activation for head in _heads(model)]


class _Head(NamedTuple):
    """What is known of one output; None of what is not."""

    activation: str | None
    units: int | None


def _heads(model: keras.Model) -> list[_Head]:
    if isinstance(model, keras.Sequential) and not model.built:
        return [_Head(_last_activation(model.layers), None)]
    return [
        _Head(activation_of(_way_back(t, _passes)[-1].operation), t.shape[-1])
        for t in _outputs(model)
    ]


def _outputs(model: keras.Model) -> list:
    return getattr(model, "outputs", None) or []


def _last_activation(layers: list) -> str | None:
    for layer in reversed(layers):
        if isinstance(layer, keras.Model):
            return next(iter(output_activations(layer)), None)
        if activation_of(layer) or not _passes(layer):
            return activation_of(layer)
    return None


def _passes(operation: Any) -> bool:
    return is_identity(operation) or isinstance(operation, _PASS_THROUGH)


def is_identity(operation: Any) -> bool:
    """Whether a layer returns its inputs, in its own dtype."""
    linear = isinstance(operation, keras.layers.Activation) and (
        operation.activation is keras.activations.linear
    )
    return linear or isinstance(operation, keras.layers.Identity)


def require_logits(
    name: str,
    model: keras.Model,
    kinds: str | Sequence[str | None] = _kinds.CLASSES,
    labels_by: str = "",
) -> None:
    """Refuses a model that is known not to end in logits of a kind.

    Args:
        name: What the model is called.
        model: A Keras model.
        kinds: One of those in `_kinds`, or one for each output in their order.
            Values must not be said to be logits; nothing is asked of None.
        labels_by: How the user says that labels do not exclude each other, if
            that can be said.
    """
    heads = _heads(model)
    if isinstance(kinds, str):
        kinds = [kinds] * max(len(heads), 1)
    if len(kinds) == 1:
        _require_kind(name, model, kinds[0], labels_by)
    for head, kind in zip(heads, kinds, strict=False):
        if kind not in (None, _kinds.VALUES):
            _require_head(name, model, head, kind, labels_by)


def _require_kind(
    name: str, model: keras.Model, kind: str | None, labels_by: str
) -> None:
    """Refuses a model that says itself that its outputs are others."""
    said = getattr(model, "kind", kind)
    both = (_kinds.CLASSES, _kinds.LABELS)
    if said not in both or kind in (said, _kinds.LOGITS, None):
        return
    received = f"Received: {name}={model.name!r}, whose outputs are logits of "
    if kind == _kinds.VALUES:
        raise ValueError(
            f"`{name}` must give what is compared, plain values. {received}"
            f"{said}. Pass a loss of {said}, {_kinds.LOSSES[said]}; for "
            "regressors, average their outputs by keras.layers.Average in a "
            f"model of your own. A loss of your own says `compares = "
            f'"{said}"` in its class.'
        )
    of_labels = labels_by and said == _kinds.LABELS
    how = f": pass {labels_by}" if of_labels else ""
    raise ValueError(
        f"`{name}` must end in logits of {kind}. {received}{said}. A softmax "
        f"of classes and sigmoids of labels are different things. Compare "
        f"{said}{how}; or make {name} of other models, a kd.Ensemble with "
        f"kind={kind!r}."
    )


def _require_head(
    name: str, model: keras.Model, head: _Head, kind: str, labels_by: str
) -> None:
    received = f"Received: {name}={model.name!r}"
    of_classes = kind == _kinds.CLASSES
    labels = labels_by and f" For labels that do not, pass {labels_by}."
    one_unit = labels_by and f", or keep the one and pass {labels_by}"
    values = ""
    if labels_by == _kinds.BY_LOSS:
        values = " Pass keras.losses.MeanSquaredError() for values."
    if head.activation == "sigmoid" and of_classes:
        raise ValueError(
            f"`{name}` must end in logits of classes that exclude each other, "
            f"but its last activation is a sigmoid. {received}. Give the model "
            f"a linear layer with one unit per class.{labels}"
        )
    if head.activation == "softmax" and kind == _kinds.LABELS:
        raise ValueError(
            f"`{name}` must end in logits of labels that do not exclude each "
            f"other, but its last activation is a softmax. {received}. Pass "
            f"kd.as_logits({name}), and compare classes."
        )
    if head.activation:
        raise ValueError(
            f"`{name}` must end in logits, but its last activation is a "
            f"{head.activation}. {received}. Pass kd.as_logits({name}), which "
            "shares its weights."
        )
    if head.units == 1 and of_classes:
        raise ValueError(
            f"`{name}` must have one output unit per class. {received} with a "
            "single unit, whose softmax is always 1. Give a binary classifier "
            f"two units{one_unit}.{values}"
        )


class Call(NamedTuple):
    """One use of a layer, or other operation, in a graph."""

    operation: Any
    args: tuple
    kwargs: dict
    inputs: list[Tensor]  # the tensors in `args` and `kwargs`
    output: int  # number of the one that the way back came from

    def again(self, operation: Any, tensor: Tensor) -> Tensor:
        """Calls an operation in the same way, on another tensor."""
        got = self.inputs[self.output]
        args, kwargs = keras.tree.map_structure(
            lambda given: tensor if given is got else given,
            (self.args, self.kwargs),
        )
        result = operation(*args, **kwargs)
        return keras.tree.flatten(result)[self.output]


class End(NamedTuple):
    """The last layer of a model, and the way from there to the output.

    Attributes:
        model: The Functional or Sequential model.
        last: The call of the last layer. That may be in a nested model.
        after: The calls that come after it, the last one first: of nested
            models that it is in, and of layers that were let through.
    """

    model: keras.Model
    last: Call
    after: list[Call]

    @property
    def layer(self) -> Any:
        return self.last.operation

    @property
    def inputs(self) -> list[Tensor]:
        """The symbolic tensors that the last layer gets."""
        return self.last.inputs

    @property
    def nested(self) -> bool:
        """Whether the last layer is in a nested model."""
        return any(_is_graph(call.operation) for call in self.after)

    @property
    def used_before(self) -> bool:
        """Whether the last layer has part in what it gets, too."""
        models = [call.operation for call in self.after]
        around = [m for m in (self.model, *models) if _is_graph(m)][-1]
        return self.layer in _with_output(around, self.inputs[0], "").layers

    def replaced(
        self,
        make: Callable[[Tensor], Tensor],
        suffix: str,
        adapt: Callable[[Any], Any] = lambda layer: layer,
    ) -> keras.Model:
        """The same model with something else in the place of its last layer.

        Args:
            make: What takes the place: gets what the last layer gets, and
                returns the new output.
            suffix: What the names of the model, and of the nested models that
                the last layer is in, end in.
            adapt: Gets each layer that comes after, and returns the one to use.
        """
        tensor = make(self.inputs[0])
        for call in reversed(self.after):
            if _is_graph(call.operation):
                nested = _with_output(call.operation, tensor, suffix)
                tensor = nested(*call.args, **call.kwargs)
            else:
                tensor = call.again(adapt(call.operation), tensor)
        return _with_output(self.model, tensor, suffix)

    def before(self, suffix: str) -> keras.Model:
        """A model of what the last layer gets."""
        models = [call for call in self.after if _is_graph(call.operation)]
        return self._replace(after=models).replaced(lambda x: x, suffix)


def end_of(
    model: keras.Model, passes: Callable[[Any], bool] = lambda layer: False
) -> End:
    """The end of a Functional or Sequential model with one output.

    Args:
        model: A built model.
        passes: Tells which layers are let through on the way to the last one.
    """
    *after, last = _way_back(model.outputs[0], passes)
    return End(model, last, after)


def _way_back(tensor: Tensor, passes: Callable[[Any], bool]) -> list[Call]:
    """From a tensor, through nested models and what passes, to a layer."""
    way = [_source(tensor)]
    while True:
        call = way[-1]
        if _is_graph(call.operation):
            tensor = call.operation.outputs[call.output]
        elif passes(call.operation):
            tensor = call.inputs[call.output]
        else:
            return way
        way.append(_source(tensor))


def _source(tensor: Tensor) -> Call:
    """The call that a symbolic tensor comes from."""
    operation, number, index = tensor._keras_history
    node = operation._inbound_nodes[number]
    args, kwargs = node.arguments.args, node.arguments.kwargs
    return Call(operation, args, kwargs, node.input_tensors, index)


def _is_graph(operation: Any) -> bool:
    """Whether it is a model whose inner graph is known."""
    return isinstance(operation, keras.Model) and bool(_outputs(operation))


def _with_output(model: Any, tensor: Tensor, suffix: str) -> keras.Model:
    sequential = isinstance(model, keras.Sequential)
    inputs = model.inputs[0] if sequential else model.input
    return keras.Model(inputs, tensor, name=f"{model.name}{suffix}")
