"""Whether an objective, a teacher and a student go together."""

import keras

from keras_distill import _kinds, _outputs, _validation
from keras_distill._keras import graph
from keras_distill._objective import Objective


def require_match(
    objective: Objective, teacher: keras.Model | None, student: keras.Model
) -> None:
    """Refuses outputs that the losses cannot compare, as far as known."""
    ours = _outputs.of_model(student)
    kinds = [objective.kind] if ours is None else _kinds_of(objective, ours)
    graph.require_logits("student", student, kinds, _kinds.BY_LOSS)
    if teacher is None:
        return
    theirs = _outputs.of_model(teacher)
    if ours is None or theirs is None:
        kinds = [objective.kind]
        graph.require_logits("teacher", teacher, kinds, _kinds.BY_LOSS)
        return
    wanted = [i for i, kind in enumerate(kinds) if kind is not None]
    found = _outputs.of_teacher(theirs, ours, wanted)
    asked = {found[n].path: kinds[i] for n, i in enumerate(wanted)}
    graph.require_logits(
        "teacher", teacher, [asked.get(o.path) for o in theirs], _kinds.BY_LOSS
    )
    for i, output in zip(wanted, found, strict=True):
        _validation.same_output(
            "teacher", output.shape, "student", ours[i].shape
        )


def _kinds_of(objective: Objective, outputs: list) -> list:
    """What the loss of each output compares, None if it has none."""
    return [
        None if term is None else _kinds.compares(objective.terms[term].loss)
        for term in objective.term_of_each(outputs)
    ]


def soft_outputs(objective: Objective, student: keras.Model) -> dict[str, bool]:
    """The outputs that have a distillation loss, as they are called in logs.

    Where the student does not tell its outputs, a structure of losses does.

    Returns:
        For each whether its loss is computed: whether its weight is not 0.
    """
    outputs = _outputs.of_model(student)
    if outputs is None:
        outputs = _outputs.of_tensors(objective.places)
    return {
        _outputs.label_of(i, outputs[i]): objective.terms[term].weight != 0
        for i, term in enumerate(objective.term_of_each(outputs))
        if term is not None
    }
