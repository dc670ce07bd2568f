"""What to say of a loss or metric that does not fit, or may not."""

import contextlib
from typing import Any, NamedTuple

import keras

from keras_distill import _kinds
from keras_distill._compiled import _probes, _rules
from keras_distill._compiled._marks import (
    SHORT_FOR_SEVERAL,
    from_logits,
    with_from_logits,
)
from keras_distill._compiled._pairing import LOSS, Item, Output

_SOFTMAX = "keras.losses.SparseCategoricalCrossentropy(from_logits=True)"
_ACCURACY = "keras.metrics.SparseCategoricalAccuracy()"
_SIGMOID = "keras.losses.BinaryCrossentropy(from_logits=True)"
_FIX = {
    "softmax": "Pass it with from_logits=True, or another that takes logits, "
    f"for example {_SOFTMAX}.",
    "sigmoid": "For labels that do not exclude each other, or one unit, pass "
    "kd.losses.SigmoidTargets(temperature) as the distillation loss, beside "
    f"{_SIGMOID}; for classes that do, {_SOFTMAX} to `compile()`.",
    "values": "For outputs that are values, not logits, pass "
    "keras.losses.MeanSquaredError() as the distillation loss; for logits, "
    f"{_SOFTMAX} to `compile()`.",
    "unknown": f"Pass one that takes logits, for example {_SOFTMAX}. If it is "
    "meant to change, say so with kd.losses.on_logits.",
    "softmax metric": "Pass it with from_logits=True, or another that takes "
    "logits, for example keras.metrics.SparseCategoricalCrossentropy("
    "from_logits=True).",
    "sigmoid metric": "For labels that do not exclude each other, or one unit, "
    "pass kd.losses.SigmoidTargets(temperature) as the distillation loss; for "
    f"classes that do, a metric of theirs, for example {_ACCURACY}.",
    "unknown metric": f"Pass one that takes logits, for example {_ACCURACY}. "
    "If it is meant to change, say so with kd.losses.on_logits.",
    "softmax beside sigmoid": f"Pass {_SIGMOID} to `compile()`, or "
    "kd.losses.SoftTargets(temperature) as the distillation loss.",
    "unknown beside sigmoid": f"Pass {_SIGMOID}; for outputs that are values, "
    "not logits, keras.losses.MeanSquaredError() as the distillation loss; or "
    "say with kd.losses.on_logits that it is right.",
    "metric beside sigmoid": "A probability of 0.5 is a logit of 0. Pass one "
    "with that threshold, for example "
    "keras.metrics.BinaryAccuracy(threshold=0.0), or with from_logits=True; or "
    "say with kd.losses.on_logits that it is right.",
}
_RULE = {
    _kinds.CLASSES: "compares classes that exclude each other: then no value "
    "may change when a constant is added to all logits of an example",
    _kinds.LABELS: "compares labels one by one: then a loss must fall as a "
    "logit turns to its label, and no metric may decide at a logit of 0.5",
}


class Problem(NamedTuple):
    """Something wrong for certain, or what could not be found out."""

    refused: bool
    text: str


def problem(
    item: Item, output: Output, verdict: bool | Exception
) -> Problem | None:
    """What is wrong, after the rule of an output's kind has been tried."""
    beside = _Beside(item, output)
    fix = beside.fix(verdict)
    if beside.says is False and fix:
        return Problem(True, beside.expects_probabilities(fix))
    if fix:
        return Problem(True, beside.does_not_fit(fix))
    if isinstance(verdict, Exception):
        return Problem(False, beside.could_not_be_tried(verdict))
    return None


class _Beside:
    """A loss or metric beside a distillation loss."""

    def __init__(self, item: Item, output: Output) -> None:
        self.item = item
        self.output = output
        self.shape = _probes.shape_like(output.shape)
        self.resolved = self._resolve()
        self.says = from_logits(self.resolved)

    def _resolve(self) -> Any:
        """As Keras does, as far as it does not depend on the labels."""
        given, is_loss = self.item.given, self.item.role == LOSS
        if isinstance(given, str) and given.lower() in SHORT_FOR_SEVERAL:
            kind = "binary" if self.shape[-1] == 1 else "categorical"
            given = f"{kind}_crossentropy" if is_loss else given
        get = keras.losses.get if is_loss else keras.metrics.get
        with contextlib.suppress(ValueError):  # Which Keras will raise.
            return get(given)
        return given

    def fix(self, verdict: bool | Exception) -> str | None:
        """How to mend what is wrong for certain, None if nothing is."""
        if self.output.kind == _kinds.CLASSES:
            certain = verdict is False or (
                verdict is not True and self.says is False
            )
            return self._fix_beside_softmax() if certain else None
        return self._fix_beside_sigmoid(verdict)

    def _fix_beside_softmax(self) -> str:
        what, role = self._what_it_is(), self.item.role
        return _FIX[what if role == LOSS else f"{what} metric"]

    def _what_it_is(self) -> str:
        """Found out by other rules, on what it would be on logits."""
        item = self.item
        if self.says is False:
            item = Item(item.role, with_from_logits(self.resolved))
            if self._obeys(_rules.OfClasses, item):
                return "softmax"
        is_loss = item.role == LOSS
        one_by_one = _rules.OfLabels if is_loss else _rules.OfHits
        if (is_loss or self.says is not None) and self._obeys(one_by_one, item):
            return "sigmoid"
        if is_loss and self._obeys(_rules.OfValues, item):
            return "values"
        return "unknown"

    def _fix_beside_sigmoid(self, verdict: bool | Exception) -> str | None:
        if self.says is not False and verdict is True:
            return None
        is_loss = self.item.role == LOSS
        if is_loss and self._obeys(_rules.OfClasses, self.item):
            return _FIX["softmax beside sigmoid"]
        if self.says is False or verdict is False:
            kind = "unknown" if is_loss else "metric"
            return _FIX[f"{kind} beside sigmoid"]
        return None

    def _obeys(self, rule: type[_rules.Rule], item: Item) -> bool:
        return _rules.holds(rule(self.shape), item.call)

    def expects_probabilities(self, fix: str) -> str:
        return (
            f"The student ends in logits, but `{self.item.role}` of "
            f"`compile()`{self._place()} expects probabilities. Received: "
            f"{self.item.role}={self.item.given!r}. {fix}{self._of_each()}"
        )

    def does_not_fit(self, fix: str) -> str:
        return (
            f"`{self.item.role}` of `compile()`{self._place()} does not fit "
            f"the distillation loss {_name(self.output.loss)}, which "
            f"{_RULE[self.output.kind]}. Received: {self.item.role}="
            f"{self.item.given!r}. {fix}{self._of_each()}"
        )

    def could_not_be_tried(self, error: Exception) -> str:
        return (
            f"`{self.item.role}` of `compile()`{self._place()} could not be "
            f"tried out on logits. Received: {self.item.role}="
            f"{self.item.given!r}; {_first_line(error)}. Make sure that it "
            "takes logits, and say so with kd.losses.on_logits."
        )

    def _of_each(self) -> str:
        names = self.output.names
        if not names or self.item.role != LOSS:
            return ""
        return (
            " Outputs of several kinds take one each: distillation_loss="
            f"{{{names[-1]!r}: ..., ...}}, without those that have none."
        )

    def _place(self) -> str:
        names = self.output.names
        return f" for the output {names[-1]!r}" if names else ""


def _name(loss: Any) -> str:
    """Of its class, which a search has instead of a loss."""
    return (loss if isinstance(loss, type) else type(loss)).__name__


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
