"""Parts that the TTM and WTTM studies of several data have in common."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict
from typing import Any

from benchmarks.harness import (
    Runs,
    arguments,
    draw,
    environment,
    save,
    summary,
)
from benchmarks.paper.ttm_wttm_arms import (
    LABELS,
    MAIN,
    WEIGHED,
    Method,
    Size,
    by_default,
)
from benchmarks.paper.ttm_wttm_measures import reported
from benchmarks.paper.ttm_wttm_models import Experiment, Task

# Each part returns what the report says of it.


def rates(experiment: Experiment) -> dict:
    return {"tried": experiment.rates(), "chosen": experiment.rate}


def tuning(experiment: Experiment) -> dict:
    """Held-out errors of each candidate of each arm."""
    arms, setting = experiment.size.arms, experiment.setting
    return {arm: experiment.tuning(arm, setting) for arm in arms}


def curve(experiment: Experiment) -> dict:
    """Held-out errors by the number of updates, each point whole runs."""
    seeds, updates = range(experiment.size.tuning_seeds), experiment.size.curve

    def errors(method: Method, count: int) -> Iterator[int]:
        for seed in seeds:
            run = experiment.run(method, seed, updates=count)
            yield run["held-out errors"]

    return {
        arm: {
            str(count): summary(errors(experiment.chosen(arm), count))
            for count in updates
        }
        for arm in (LABELS, *MAIN)
    }


def defaults(experiment: Experiment) -> dict:
    """Held-out errors at the weights that a Distiller takes by itself."""
    seeds = range(experiment.size.tuning_seeds)

    def errors(arm: str, temperature: float) -> Iterator[int]:
        method = experiment.at_rate(by_default(arm, temperature))
        for seed in seeds:
            yield experiment.run(method, seed)["held-out errors"]

    return {
        arm: {
            f"{t:g}": summary(errors(arm, t))
            for t in experiment.size.starting_temperatures
        }
        for arm in MAIN
    }


def test(experiment: Experiment) -> dict:
    """Scores of each arm as chosen; of the weights, of the better two."""
    return final(experiment, tested(experiment), experiment.size.updates)


def longer(experiment: Experiment) -> dict:
    """Scores of labels, KD, TTM and WTTM as chosen, of more updates."""
    return final(experiment, (LABELS, *MAIN), experiment.size.longer)


def final(experiment: Experiment, arms: Iterable[str], updates: int) -> dict:
    result = {}
    for arm in arms:
        method = experiment.chosen(arm)
        runs = [
            experiment.run(method, seed, updates=updates, final=True)
            for seed in range(experiment.size.seeds)
        ]
        result[arm] = reported(method, runs)
    return result


def tested(experiment: Experiment) -> list[str]:
    """All arms but the worst of the weights of examples, by held-out errors."""
    scores = tuning(experiment)
    fewest = {
        arm: min(map(sum, tried.values())) for arm, tried in scores.items()
    }
    weighed = [arm for arm in WEIGHED.values() if arm in scores]
    worst = max(weighed, key=fewest.get) if len(weighed) > 2 else None
    return [arm for arm in scores if arm != worst]


def study(
    doc: str,
    name: str,
    task: Callable[[Any, Size, Runs], Task],
    sizes: tuple[Size, Size],
    parts: dict[str, Callable[[Experiment], dict]],
    figure: Callable[[dict], Any],
) -> None:
    """Runs what the command line asks for.

    Args:
        doc: Of the script.
        name: Of its results.
        task: Makes the task.
        sizes: Of a short run, and of a whole one.
        parts: By the names that `--part` takes.
        figure: Draws the result.
    """
    own = {"choices": list(parts), "action": "append"}
    options = arguments(doc, name, "data_dir", "work", "plot", part=own)
    if not options.plot:
        short, whole = sizes
        size = short if options.short else whole
        runs = Runs(options.work, options.begun)
        experiment = Experiment(size, task(options, size, runs), runs)
        found = {
            part: parts[part](experiment) for part in options.part or parts
        }
        if options.part:
            return
        print(save(name, report(experiment) | found, options.out))
    draw(name, figure, options.out)


def report(experiment: Experiment) -> dict[str, Any]:
    """What was learned, from whom, and where."""
    task, setting = experiment.task, experiment.setting
    return {
        "environment": environment("tensorflow-datasets"),
        "environments of the runs": experiment.runs.environments(),
        "data": task.name,
        "test_images": len(task.test[0]),
        "held_out_images": len(task.held_out[0]),
        "size": asdict(experiment.size),
        "teacher": experiment.teacher_scores(setting),
    }
