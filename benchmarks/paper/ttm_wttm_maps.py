"""Held-out errors over temperature and weight, and what follows from them."""

from typing import Any

import numpy as np

from benchmarks.harness import summary
from benchmarks.paper.ttm_wttm_arms import (
    ALONE,
    MAIN,
    SOFT,
    TTM,
    WTTM,
    Method,
    Size,
    alone,
    weighted,
)
from benchmarks.paper.ttm_wttm_measures import summaries
from benchmarks.paper.ttm_wttm_models import Experiment

Map = dict[str, dict[str, Any]]
KEPT = ("held-out errors", "student_entropy", "divergence")


def weights_of(size: Size, arm: str) -> tuple[float, ...]:
    return size.shares if arm == SOFT else size.betas


def heat(experiment: Experiment) -> dict[str, Map]:
    """Scores by arm, temperature and weight."""
    size = experiment.size
    return {
        arm: {
            f"{t:g}": {
                f"{w:g}": over_seeds(experiment, weighted(arm, t, w))
                for w in weights_of(size, arm)
            }
            for t in size.temperatures
        }
        for arm in MAIN
    }


def over_seeds(experiment: Experiment, method: Method) -> dict[str, Any]:
    method, seeds = experiment.at_rate(method), experiment.size.map_seeds
    found = summaries([experiment.run(method, seed) for seed in range(seeds)])
    return {name: found[name] for name in KEPT}


def best_weight(points: dict[str, Any]) -> str:
    """The one of the fewest held-out errors."""
    return min(points, key=lambda w: points[w]["held-out errors"]["mean"])


def entropy(experiment: Experiment) -> dict[str, dict[str, Any]]:
    """By temperature, each arm at its best weight, and without labels."""
    maps = heat(experiment)
    result = {}
    for t in experiment.size.temperatures:
        points = {arm: maps[arm][f"{t:g}"] for arm in MAIN}
        found = {arm: p[best_weight(p)] for arm, p in points.items()}
        for arm, name in ALONE.items():
            found[name] = over_seeds(experiment, alone(arm, t))
        result[f"{t:g}"] = found
    return result


def rule(experiment: Experiment) -> dict[str, dict[str, Any]]:
    """By temperature: the best beta of TTM and of WTTM, and mean power sum.

    The rule says that the best beta of WTTM, times the mean power sum, is that
    of TTM.
    """
    maps = heat(experiment)
    sums = experiment.teacher_scores(experiment.setting)["power sum"]
    return {
        t: {
            "power sum": power_sum,
            **{arm: best_betas(maps[arm][t]) for arm in (TTM, WTTM)},
        }
        for t, power_sum in sums.items()
    }


def best_betas(points: dict[str, Any]) -> dict[str, Any]:
    """Of the mean over the seeds, and of each seed."""
    betas = [float(beta) for beta in points]
    rows = [point["held-out errors"]["values"] for point in points.values()]
    errors = np.array(rows, float)
    return {
        "of the mean": lowest(betas, errors.mean(axis=1)),
        "of seeds": summary(lowest(betas, one) for one in errors.T),
    }


def lowest(betas: list[float], errors: np.ndarray) -> float:
    """Where a parabola through the errors over log beta is lowest.

    Within the betas that were tried; the better end where it has no minimum.
    """
    x = np.log(betas)
    if len(x) > 2:
        a, b, _ = np.polyfit(x, errors, 2)
        if a > 0:
            return float(np.exp(np.clip(-b / (2 * a), x[0], x[-1])))
    return betas[0] if errors[0] < errors[-1] else betas[-1]
