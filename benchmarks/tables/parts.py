"""Everything that the pages show of the results, by the name of its marker."""

import functools
from collections.abc import Callable

from benchmarks.harness import load
from benchmarks.tables import (
    checks,
    comparison,
    digits,
    distilled,
    methods,
    mnist,
    regularizers,
    specialists,
    speech,
    speed,
    ttm,
    ttm_claims,
    ttm_paper,
)
from benchmarks.tables.formatting import markdown, noted


def claims() -> str:
    """What the paper found, and what we find."""
    parts = {
        "hinton_mnist": mnist.claims(),
        "soft_targets_as_regularizers": regularizers.claims(),
        "spoken_digits": speech.claims(),
        "specialists": specialists.claims(),
    }
    rows = [
        [*row, f"[`{script}`]({script}.py)"]
        for script, part in parts.items()
        for row in part
    ]
    header = ["claim", "paper", "here", "comes out", "seeds", "script"]
    return noted(markdown(header, rows), load("hinton_mnist")["environment"])


TABLES: dict[str, Callable[[], str]] = {
    "digits": digits.table,
    "defects": comparison.defects,
    "methods": methods.table,
    "step time": speed.step_time,
    "teacher cache": speed.teacher_cache,
    "cache memory": speed.cache_memory,
    "cache losses": speed.cache_losses,
    "temperature search": speed.temperature_search,
    "confusable classes": specialists.confusable,
    "specialist inference": specialists.inference,
    "claims": claims,
    "mnist students": mnist.students,
    "beyond the paper": mnist.beyond,
    "few and wrong labels": regularizers.table,
    "spoken digits": speech.table,
    "spoken digits, held out": speech.tuning,
    "specialists": specialists.experiment,
    "specialists by cover": specialists.cover,
    "specialists distilled back": distilled.table,
    "TTM and WTTM claims": ttm_claims.table,
    "TTM and WTTM, the paper": ttm_paper.table,
    "TTM and WTTM, MNIST": functools.partial(ttm.table, "MNIST"),
    "TTM and WTTM, speech": functools.partial(ttm.table, "spoken digits"),
    "TTM and WTTM, CIFAR-10": functools.partial(ttm.table, "CIFAR-10 as JPEG"),
    "TTM and WTTM, maps": ttm.flatness,
    "TTM and WTTM, rule": ttm.rule,
    "TTM and WTTM, defaults": ttm.defaults,
    "TTM and WTTM, wrong and few labels": ttm.wrong_and_few,
}

# For README.md: a finding, and the page that has more.
_FINDINGS: dict[str, tuple[Callable[[], str], str]] = {
    "digits": (digits.finding, "README.md#digits"),
    "comparison": (comparison.finding, "README.md#comparison"),
    "cache": (speed.cache_finding, "README.md#cache"),
    "search": (speed.search_finding, "README.md#search"),
    "bias": (mnist.bias_finding, "paper/README.md#mnist"),
    "specialists": (specialists.finding, "paper/README.md#specialists"),
}


def with_link(finding: Callable[[], str], page: str) -> str:
    return f"{finding()} [More](benchmarks/{page})."


def in_list(finding: Callable[[], str], page: str) -> str:
    """As a part of a point of a list, on a page of the examples."""
    return f"   {finding()} [More](../{page})."


# Question, finding, module, result files.
_BENCHMARKS: list[tuple[str, Callable[[], str], str, list[str]]] = [
    (
        "What do soft targets give a small student of few labels?",
        digits.finding,
        "paper.digits",
        ["digits", "digits_tensorflow", "digits_torch", "digits_tuning"],
    ),
    (
        "What does a student gain from soft targets, at which temperature, "
        "and without some classes?",
        mnist.finding,
        "paper.hinton_mnist",
        ["hinton_mnist"],
    ),
    (
        "What do soft targets do with few labels, and with wrong ones?",
        regularizers.finding,
        "paper.soft_targets_as_regularizers",
        ["soft_targets_as_regularizers"],
    ),
    (
        "How much of an ensemble's gain does one student keep?",
        speech.finding,
        "paper.spoken_digits",
        ["spoken_digits"],
    ),
    (
        "Are TTM and WTTM better than soft targets, and by how much?",
        ttm.finding,
        "paper.ttm_wttm",
        ["ttm_wttm"],
    ),
    (
        "And from an ensemble that is often wrong itself?",
        ttm.speech_finding,
        "paper.ttm_wttm_speech",
        ["ttm_wttm_speech"],
    ),
    (
        "And of convolutional networks?",
        ttm.cifar_finding,
        "paper.ttm_wttm_cifar",
        ["ttm_wttm_cifar"],
    ),
    (
        "What do specialists add to a generalist?",
        specialists.finding,
        "paper.specialists",
        ["specialists"],
    ),
    (
        "How large must one net be to keep what specialists add?",
        distilled.finding,
        "paper.specialists_distilled",
        ["specialists_distilled"],
    ),
    (
        "What does `keras.distillation` do otherwise?",
        comparison.finding,
        "compare_keras_distillation",
        ["compare_keras_distillation"],
    ),
    (
        "Which loss, of logits or of features, should one try?",
        methods.finding,
        "methods",
        ["methods"],
    ),
    (
        "What does a distillation step cost?",
        speed.step_finding,
        "speed.step_time",
        ["step_time"],
    ),
    (
        "What does distillation over a vocabulary cost?",
        speed.large_finding,
        "speed.large_outputs",
        ["large_outputs"],
    ),
    (
        "What does a cache cost to build and to read, and what does it lose?",
        speed.cache_finding,
        "speed.teacher_cache",
        ["teacher_cache"],
    ),
    (
        "What does a search for the temperature cost?",
        speed.search_finding,
        "speed.temperature_search",
        ["temperature_search"],
    ),
    (
        "What does finding confusable classes cost?",
        specialists.confusable_finding,
        "speed.confusable_classes",
        ["confusable_classes"],
    ),
    (
        "What does it cost to combine specialists?",
        specialists.inference_finding,
        "speed.specialist_inference",
        ["specialist_inference"],
    ),
]


def benchmarks() -> str:
    """What each benchmark asks and found, and where."""
    rows = [
        [
            question,
            finding(),
            f"`benchmarks.{module}`",
            ", ".join(f"[{name}](results/{name}.json)" for name in names),
        ]
        for question, finding, module, names in _BENCHMARKS
    ]
    header = ["question", "finding", "`python -m`", "results"]
    return markdown(header, rows)


PARTS = {
    "table: benchmarks": benchmarks,
    **{f"table: {name}": make for name, make in TABLES.items()},
    **{
        f"finding: {name}": functools.partial(with_link, *finding)
        for name, finding in _FINDINGS.items()
    },
    **{
        f"finding: check {name}": functools.partial(in_list, *finding)
        for name, finding in checks.CHECKS.items()
    },
}
