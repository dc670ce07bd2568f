"""Other teachers, wrong labels and few labels, for `ttm_wttm.py`."""

from dataclasses import replace
from typing import Any

from benchmarks.paper.ttm_wttm_arms import ALONE, LABELS, MAIN, Method
from benchmarks.paper.ttm_wttm_measures import reported
from benchmarks.paper.ttm_wttm_models import Experiment, Setting


def students(
    experiment: Experiment, method: Method, setting: Setting
) -> dict[str, Any]:
    seeds = range(experiment.size.some_seeds)
    runs = [experiment.run(method, s, setting, final=True) for s in seeds]
    return reported(method, runs)


def teachers(experiment: Experiment) -> dict[str, Any]:
    """By units: the teacher, and students with settings chosen for it."""
    method = experiment.chosen(LABELS)
    labels = students(experiment, method, experiment.setting)
    result = {}
    for units in experiment.size.teachers:
        setting = Setting(units)
        result[str(units)] = {
            "teacher": experiment.teacher_scores(setting),
            LABELS: labels,
        }
        for arm in MAIN:
            method = experiment.chosen(arm, setting)
            result[str(units)][arm] = students(experiment, method, setting)
    return result


def wrong_labels(experiment: Experiment) -> dict[str, Any]:
    """By the share of wrong labels, which the teacher learns from as well.

    Settings are chosen with right labels, and for all others with the largest
    share of wrong ones.
    """
    shares, right = experiment.size.wrong, experiment.setting
    most = replace(right, wrong=max(shares))
    result = {}
    for share in shares:
        setting = replace(right, wrong=share)
        arms = with_and_without(experiment, setting, most if share else right)
        scores = experiment.teacher_scores(setting)
        result[f"{share:g}"] = {"teacher": scores, **arms}
    return result


def few_labels(experiment: Experiment) -> dict[str, Any]:
    """By the share of the images that students see; the teacher sees all.

    Settings are chosen with the largest share.
    """
    shares, full = experiment.size.few, experiment.setting
    most = replace(full, share=max(shares))
    return {
        f"{share:g}": with_and_without(
            experiment, replace(full, share=share), most
        )
        for share in shares
    }


def with_and_without(
    experiment: Experiment, setting: Setting, chosen_in: Setting
) -> dict:
    """Each loss with labels beside it and without, as chosen in a setting."""
    return {
        arm: students(experiment, experiment.chosen(arm, chosen_in), setting)
        for arm in (LABELS, *MAIN, *ALONE.values())
    }
