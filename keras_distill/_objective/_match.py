"""Whether an objective, a teacher and a student go together."""

import keras

from keras_distill import _kinds, _schedules, _validation
from keras_distill._keras import graph
from keras_distill._objective import _outputs
from keras_distill._objective._terms import Objective


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
    return {
        name: objective.terms[term].weight != 0
        for name, term in _named_terms(objective, student)
    }


def scheduled(
    objective: Objective, student: keras.Model
) -> dict[str, _schedules.Scheduled]:
    """The numbers that follow a schedule, as they are called in logs."""
    numbers = objective.numbers()
    if not any(map(_schedules.is_scheduled, keras.tree.flatten(numbers))):
        return {}
    # A term of several outputs is the only one, and needs no name.
    names = {term: name for name, term in _named_terms(objective, student)}
    outputs = [names[term] for term in range(len(objective.terms))]
    layers = [feature.student_layer for feature in objective.features]
    features = [
        layer if layers.count(layer) == 1 else f"{layer}_{i}"
        for i, layer in enumerate(layers)
    ]
    return _schedules.named(numbers, outputs, features)


def _named_terms(
    objective: Objective, student: keras.Model
) -> list[tuple[str, int]]:
    outputs = _outputs.of_model(student)
    if outputs is None:
        outputs = _outputs.of_tensors(objective.places)
    terms = objective.term_of_each(outputs)
    return [
        (_outputs.label_of(i, output), terms[i])
        for i, output in enumerate(outputs)
        if terms[i] is not None
    ]


def losses_of(objective: Objective, student: keras.Model) -> list:
    """The distillation loss of each output, None where there is none."""
    outputs = _outputs.of_model(student)
    if outputs is None:
        return [term.loss for term in objective.terms]
    terms = objective.term_of_each(outputs)
    return [None if t is None else objective.terms[t].loss for t in terms]
