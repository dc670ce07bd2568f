"""What belongs to which output of a model: by name, or by place.

Losses, weights, labels and a teacher's outputs come in structures of their own.
An output is known by its path in the structure of the outputs, the keys of
dicts and the places in lists, and by the name that Keras logs it under.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import keras

from keras_distill._attached import TopKLogits

Path = tuple[str | int, ...]


class Output(NamedTuple):
    """One output of a model: a tensor, real or symbolic."""

    path: Path
    name: str | None
    tensor: Any

    @property
    def shape(self) -> tuple:
        return tuple(self.tensor.shape)

    @property
    def keyed(self) -> bool:
        """Whether the name is that of an entry in a dict."""
        return bool(self.path) and isinstance(self.path[-1], str)


def of_model(model: keras.Model) -> list[Output] | None:
    """The symbolic outputs of a model, None if it has none."""
    flat = getattr(model, "outputs", None)
    if not flat:
        return None
    single = isinstance(model, keras.Sequential)
    return of_tensors(flat[0] if single else model.output, names_of(model))


def names_of(model: Any) -> list[str] | None:
    """The names of its outputs that a Functional model has."""
    return getattr(model, "output_names", None)


def of_tensors(
    tensors: Any, names: Sequence[str] | None = None
) -> list[Output]:
    """The outputs in a structure, in its flattened order.

    Args:
        tensors: Outputs in any structure.
        names: The model's own names of them, if it has any.
    """
    found = keras.tree.flatten_with_path(tensors)
    if isinstance(tensors, TopKLogits):  # Of one output.
        found = [((), tensors)]
    own: Sequence = names or [None] * len(found)
    return [
        Output(tuple(path), _name(tuple(path), name), tensor)
        for name, (path, tensor) in zip(own, found, strict=True)
    ]


def _name(path: Path, own: str | None) -> str | None:
    """As Keras names a loss: by keys, and by the layer in place of a number."""
    if not path or isinstance(path[-1], int):
        path = (*path[:-1], own) if own else path
    named = path and isinstance(path[-1], str)
    return "/".join(map(str, path)) if named else None


def label_of(number: int, output: Output) -> str:
    """What an output is called in logs and errors."""
    return output.name or f"output_{number}"


def of_each(
    what: str, given: Any, outputs: Sequence[Output], sorted_keys: bool = False
) -> list:
    """What a structure has for each output, None where it has nothing.

    Args:
        what: What it is, for errors.
        given: One for all outputs; or a structure like that of the outputs, a
            flat list in their order, or a dict of names, some of which may be
            missing.
        outputs: The outputs.
        sorted_keys: Whether a list may go with the entries of a dict, in the
            order of their keys, as Keras takes labels.
    """
    if not keras.tree.is_nested(given):
        return [given] * len(outputs)
    leaves = {tuple(p): v for p, v in keras.tree.flatten_with_path(given)}
    paths, names = [o.path for o in outputs], [o.name for o in outputs]
    if set(leaves) == set(paths):
        return [leaves[path] for path in paths]
    if isinstance(given, dict):
        for keys in ([(name,) for name in names], paths):
            if set(leaves) <= set(keys) and len(set(keys)) == len(keys):
                return [leaves.get(key) for key in keys]
    elif len(leaves) == len(outputs) == len(given):
        if sorted_keys or not any(output.keyed for output in outputs):
            return list(leaves.values())
    raise ValueError(
        f"`{what}` must go with the outputs of the student. Received: "
        f"{_shown(given)}, for {listed(outputs)}. Pass one for all, or one for "
        "each: in the structure of the outputs, in a dict by name, without "
        "those that have none, or in a list where the outputs are in one."
    )


def _shown(given: Any) -> str:
    if isinstance(given, dict):
        return f"a dict with the keys {list(given)}"
    return f"a {type(given).__name__} of {len(keras.tree.flatten(given))}"


def listed(outputs: Sequence[Output]) -> str:
    names = [label_of(i, output) for i, output in enumerate(outputs)]
    if len(names) == 1:
        return "one output"
    return f"the {len(names)} outputs {names}"


def of_teacher(
    teacher: Sequence[Output],
    student: Sequence[Output],
    wanted: Sequence[int],
) -> list[Output]:
    """The teacher's output for each of those of the student that want one.

    By name where both have names, else by path where both have the same
    structure, else in the order of those that are wanted.
    """
    asking = [student[i] for i in wanted]
    if _go_by_name(teacher, asking, student):
        by_name = {output.name: output for output in teacher}
        return [by_name[output.name] for output in asking]
    if {o.path for o in teacher} == {o.path for o in student}:
        by_path = {output.path: output for output in teacher}
        return [by_path[output.path] for output in asking]
    # The entries of a dict have no order to go by.
    ordered = not any(output.keyed for output in [*teacher, *asking])
    if len(teacher) == len(asking) and (ordered or len(asking) == 1):
        return list(teacher)
    raise ValueError(
        "`teacher` must have the outputs of the student that have a "
        f"distillation loss. Received: a teacher with {listed(teacher)}, for "
        f"{listed(asking)} of the student. Give both the same names or the "
        "same order, and None as distillation loss to an output that has no "
        "teacher."
    )


def _go_by_name(
    teacher: Sequence[Output],
    asking: Sequence[Output],
    student: Sequence[Output],
) -> bool:
    found = [output.name for output in teacher]
    wanted = {output.name for output in asking}
    if None in wanted or len(set(found)) < len(found):
        return False
    if all(output.keyed for output in teacher):
        return wanted <= set(found)
    # Names that Keras made up say nothing, unless all of them are the same.
    return set(found) in (wanted, {output.name for output in student})
