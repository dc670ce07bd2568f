"""Whether an objective, a teacher and a student go together."""

import keras

from keras_distill import _kinds, _outputs, _schedules, _validation
from keras_distill._keras import graph
from keras_distill._objective import Objective


def require_match(
    objective: Objective, teacher: keras.Model | None, student: keras.Model
) -> None:
    """Refuses outputs that the losses cannot compare, as far as known."""
    for name, model in (("student", student), ("teacher", teacher)):
        if model is not None and _needs_logits(objective):
            graph.require_logits(name, model)
    outputs = _outputs.of_model(student)
    if outputs is None:
        return
    terms = objective.term_of_each(outputs)
    wanted = [i for i, term in enumerate(terms) if term is not None]
    theirs = _outputs.of_model(teacher) if teacher is not None else None
    if theirs is None:
        return
    tensors = _outputs.of_teacher(theirs, outputs, wanted)
    for i, tensor in zip(wanted, tensors, strict=True):
        shapes = tuple(tensor.shape), outputs[i].shape
        _validation.same_output("teacher", shapes[0], "student", shapes[1])


def _needs_logits(objective: Objective) -> bool:
    kinds = [_kinds.compares(term.loss) for term in objective.terms]
    return any(kind != _kinds.VALUES for kind in kinds)


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
    return _schedules.named(numbers, outputs)


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
