"""Specialists on 100 confusable classes: Tables 3 and 4 of Hinton et al. 2015.

Question: does a small generalist with many classes get better with specialists,
how much does a class gain that several of them cover, and can one student of
the generalist's size learn what they know together? (The paper left that open.)

    KERAS_BACKEND=jax python -m benchmarks.paper.specialists --data_dir FOLDER
    KERAS_BACKEND=jax python -m benchmarks.paper.specialists --short

The short one downloads nothing.

Two MNIST digits side by side, each reduced to 14 x 14 pixels, make 100 classes,
00 to 99. The generalist has one layer of 8 units: as in the paper, where JFT
was too large for it, it cannot even fit its training data, and the data are
many (150,000 pairs of 50,000 images), so that what specialists gain is not less
overfitting. Test pairs are made of test images.

Arms, for each of 5 seeds (initial weights and pairs):

- generalist: 20 epochs; and the same, trained on for as long as the student;
- specialists: class sets by `confusable_classes`, from the predictions for the
  training inputs, no labels; half and half data; combined by eq. (5), n = 1 as
  in the paper, and n = 2;
- specialists with a full softmax (section 6.1), of the same sets;
- student: the generalist, trained on for 20 epochs by the soft targets of the
  specialist ensemble alone, and by these and labels, half and half.

The number and size of the sets, the epochs of the specialists and the student's
temperature are chosen by accuracy on 20,000 pairs of 10,000 held-out training
images, with seed 0; all that was tried is in the result file.

About 45 minutes on one core. Finished runs are kept in --work, and an
interrupted benchmark goes on where it stopped; `--seed N` makes the runs of one
seed only, so that several processes can share the work. Writes
results/specialists.json and results/specialists.png, the covariance of one
generalist's predictions, ordered by its class sets.
"""

import argparse
import functools
import pathlib
from dataclasses import asdict, dataclass
from typing import Any

import keras
import numpy as np

import keras_distill as kd
from benchmarks.harness.environment import RESULTS, environment, save_results
from benchmarks.harness.runs import Runs, summary
from benchmarks.paper import example, mnist

base = example.load("specialists")

# Table 3: conditional and overall accuracy. Table 4: relative improvement by
# the number of specialists that cover the true class, the last of 10 and more.
PAPER = {
    "baseline": [0.431, 0.250],
    "specialists": [0.459, 0.261],
    "relative improvement": 0.044,
    "by cover": [0.0, 3.4, 7.4, 8.8, 10.5, 11.1, 11.3, 12.8, 13.6, 16.6, 14.1],
}
MOST = len(PAPER["by cover"]) - 1


@dataclass(frozen=True)
class Size:
    """How much is done."""

    seeds: int = 5
    train: int = 150_000
    test: int = 20_000
    epochs: int = 20
    specialist_epochs: tuple = (10, 30)
    sets: tuple = ((10, 10), (20, 10), (20, 20))
    temperatures: tuple = (1.0, 2.0, 4.0)
    hard_weights: tuple = (0.0, 0.5)
    batch: int = 500
    rate: float = 1e-2


SHORT = Size(
    seeds=1,
    train=2000,
    test=500,
    epochs=2,
    specialist_epochs=(1,),
    sets=((2, 10),),
    temperatures=(1.0,),
    hard_weights=(0.0,),
)


class Experiment:
    """All models of one seed, kept in a folder."""

    def __init__(
        self, size: Size, data: dict, runs: Runs, seed: int, part: str
    ) -> None:
        self.size, self.runs, self.seed, self.part = size, runs, seed, part
        self.name = f"{part}-{seed}"
        self.folder = runs.folder / self.name
        # Choices are made without the held-out images.
        train, test = data[part]
        self.train = base.pairs(*train, size.train, 2 * seed)
        self.test = base.pairs(*test, size.test, 2 * seed + 1)

    def kept(self, name: str, make: Any) -> keras.Model:
        path = self.folder / f"{name}.keras"
        if path.exists():
            return keras.models.load_model(path, compile=False)
        keras.utils.set_random_seed(self.seed)
        model = make()
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f"new-{path.name}")
        model.save(temporary)
        temporary.replace(path)
        return model

    @functools.cached_property
    def generalist(self) -> keras.Model:
        features = self.train[0].shape[1]
        return self.kept(
            "generalist",
            lambda: self.fit(base.network(features)),
        )

    def fit(self, model: keras.Model) -> keras.Model:
        size = self.size
        return base.fit(model, self.train, size.epochs, size.batch, size.rate)

    @functools.cached_property
    def longer(self) -> keras.Model:
        return self.kept(
            "longer", lambda: self.fit(base.copy_of(self.generalist))
        )

    @functools.cache  # noqa: B019
    def found(self, count: int, classes: int) -> Any:
        return kd.specialists.confusable_classes(
            (self.generalist, self.train[0]),
            count,
            classes,
            class_names=base.NAMES,
            batch_size=1000,
        )

    def specialists(
        self, sets: tuple, epochs: int, full_softmax: bool = False
    ) -> list:
        size, (_, classes) = self.size, sets
        share = classes / base.CLASSES
        steps = 2 * share * epochs * size.train / size.batch
        return kd.specialists.train_specialists(
            self.generalist,
            self.train,
            self.found(*sets).class_sets,
            self.folder / "specialists",
            epochs=epochs,
            optimizer=base.adam(size.rate, steps),
            batch_size=size.batch,
            full_softmax=full_softmax,
            seed=self.seed,
            verbose=False,
        )

    def ensemble(
        self, sets: tuple, epochs: int, n: int, full_softmax: bool = False
    ) -> keras.Model:
        return kd.specialists.SpecialistEnsemble(
            self.generalist, self.specialists(sets, epochs, full_softmax), n
        )

    def student(self, chosen: dict, temperature: float, hard: float) -> Any:
        """The generalist, trained on by a teacher that runs once."""
        size = self.size
        (count, classes), n = chosen["sets"], chosen["n"]
        name = f"logits-{count}-{classes}-{chosen['epochs']}-{n}"
        cache = kd.TeacherCache.build(
            teacher(self, chosen),
            self.train[0],
            self.folder / name,
            batch_size=1000,
            verbose=0,
        )
        keras.utils.set_random_seed(self.seed)
        distiller = kd.Distiller(
            None,
            base.copy_of(self.generalist),
            kd.losses.SoftTargets(temperature),
            hard_loss_weight=hard,
            soft_loss_weight=1 - hard,
        )
        steps = size.epochs * -(-size.train // size.batch)
        distiller.compile(base.adam(size.rate, steps), base.CROSSENTROPY)
        distiller.fit(
            cache.attach(self.train),
            batch_size=size.batch,
            epochs=size.epochs,
            verbose=0,
        )
        return distiller.student

    def right(self, model: keras.Model) -> np.ndarray:
        """Which test pairs a model names rightly."""
        x, y = self.test
        logits = model.predict(x, batch_size=1000, verbose=0)
        return np.argmax(logits, axis=1) == y


def tune(experiment: Experiment) -> dict:
    """The best settings on held-out pairs, and all that were tried."""
    size, runs = experiment.size, experiment.runs

    def accuracy(name: str, settings: dict, model: Any) -> float:
        def make() -> dict:
            return {"accuracy": float(np.mean(experiment.right(model())))}

        settings = {"size": asdict(size), **settings}
        return runs(name, settings, make)["accuracy"]

    tried: dict[str, dict] = {"specialists": {}, "student": {}}
    options = {}
    for sets in size.sets:
        for epochs in size.specialist_epochs:
            chosen = {"sets": list(sets), "epochs": epochs}
            key = f"{sets[0]} of {sets[1]}, {epochs} epochs"
            options[key] = chosen
            tried["specialists"][key] = accuracy(
                f"tune-{key}",
                chosen,
                lambda s=sets, e=epochs: experiment.ensemble(s, e, 1),
            )
    best = options[max(tried["specialists"], key=tried["specialists"].get)]
    teachers = {}
    for n in (1, 2):
        chosen = {**best, "n": n}
        teachers[n] = accuracy(
            f"tune-n-{n}",
            chosen,
            lambda n=n: experiment.ensemble(
                tuple(best["sets"]), best["epochs"], n
            ),
        )
    tried["n"] = {str(n): value for n, value in teachers.items()}
    best["n"] = max(teachers, key=teachers.get)
    students = {}
    for hard in size.hard_weights:
        for temperature in size.temperatures:
            key = f"T = {temperature:g}, labels {hard:g}"
            students[key] = (temperature, hard)
            tried["student"][key] = accuracy(
                f"tune-student-{key}",
                {**best, "temperature": temperature, "hard": hard},
                lambda t=temperature, h=hard: experiment.student(best, t, h),
            )
    tried["generalist"] = accuracy(
        "tune-generalist", {}, lambda: experiment.generalist
    )
    tried["generalist, longer"] = accuracy(
        "tune-longer", {}, lambda: experiment.longer
    )
    for hard in size.hard_weights:
        keys = [key for key in students if students[key][1] == hard]
        key = max(keys, key=tried["student"].get)
        best[f"student, labels {hard:g}"] = list(students[key])
    return {"chosen": best, "held-out accuracy": tried}


def teacher(experiment: Experiment, chosen: dict) -> keras.Model:
    sets, epochs = tuple(chosen["sets"]), chosen["epochs"]
    return experiment.ensemble(sets, epochs, chosen["n"])


def confusions(experiment: Experiment) -> dict:
    """How many held-out errors of the generalist lie inside a set.

    Of the sets of `confusable_classes`, and of those that K-means finds on the
    columns of the covariance as they are, which the paper describes.
    """
    x, y = experiment.test
    logits = experiment.generalist.predict(x, batch_size=1000, verbose=0)
    answers = np.argmax(logits, axis=1)
    wrong = answers != y

    def inside(class_sets: list) -> float:
        members = np.zeros((len(class_sets), base.CLASSES), bool)
        for row, classes in zip(members, class_sets, strict=True):
            row[classes] = True
        both = members[:, y[wrong]] & members[:, answers[wrong]]
        return float(np.mean(np.any(both, axis=0)))

    result = {}
    for count, classes in experiment.size.sets:
        found = experiment.found(count, classes)
        plain = plain_sets(found.covariance, count, classes)
        result[f"{count} of {classes}"] = {
            "confusable_classes": inside(found.class_sets),
            "K-means on the columns as they are": inside(plain),
        }
    return result


def plain_sets(covariance: np.ndarray, count: int, classes: int) -> list:
    from sklearn.cluster import MiniBatchKMeans

    means = MiniBatchKMeans(
        count, n_init=3, max_no_improvement=None, random_state=0
    )
    distances = means.fit(covariance).transform(covariance)
    return [np.argsort(column)[:classes] for column in distances.T]


def test(experiment: Experiment, chosen: dict) -> dict:
    """Accuracies of every arm on the test pairs of one seed."""
    sets, epochs = tuple(chosen["sets"]), chosen["epochs"]
    models = {
        "generalist": lambda: experiment.generalist,
        "generalist, trained on": lambda: experiment.longer,
        "specialists, n = 1": lambda: experiment.ensemble(sets, epochs, 1),
        "specialists, n = 2": lambda: experiment.ensemble(sets, epochs, 2),
        "full softmax, n = 1": lambda: experiment.ensemble(
            sets, epochs, 1, True
        ),
        "full softmax, n = 2": lambda: experiment.ensemble(
            sets, epochs, 2, True
        ),
    }
    for key, settings in chosen.items():
        if key.startswith("student"):
            models[key] = lambda s=settings: experiment.student(chosen, *s)
    y = experiment.test[1]
    found = experiment.found(*sets)
    cover = np.zeros(base.CLASSES, int)
    for members in found.class_sets:
        cover[members] += 1
    covered = cover[y]
    result: dict[str, Any] = {"arms": {}}
    for name, model in models.items():
        right = experiment.right(model())
        result["arms"][name] = {
            "overall": float(np.mean(right)),
            "conditional": float(np.mean(right[covered > 0])),
            "by cover": [
                float(np.mean(right[covered == k]))
                if np.any(covered == k)
                else None
                for k in range(covered.max() + 1)
            ],
        }
    result["classes by cover"] = np.bincount(cover).tolist()
    result["pairs by cover"] = np.bincount(covered).tolist()
    result["sets"] = len(found.class_sets)
    return result


def gathered(results: list[dict]) -> dict:
    """Means and deviations over the seeds, and the relative improvements."""
    first = results[0]["arms"]
    arms = {
        name: {
            kind: summary(r["arms"][name][kind] for r in results)
            for kind in ("overall", "conditional")
        }
        | {
            "relative improvement": summary(
                r["arms"][name]["overall"] / r["arms"]["generalist"]["overall"]
                - 1
                for r in results
            )
        }
        for name in first
    }
    return {"arms": arms, "by cover": by_cover(results)}


def by_cover(results: list[dict]) -> dict:
    """Table 4, of the seeds that have classes of a cover, for each arm."""
    table: dict[str, dict] = {}
    for name in results[0]["arms"]:
        table[name] = {}
        for k in range(MOST + 1):
            found = [improvement(result, name, k) for result in results]
            values = [value for value in found if value is not None]
            if values:
                table[name][str(k)] = summary(values)
    return table


def improvement(result: dict, name: str, cover: int) -> float | None:
    """Relative, on the pairs whose class so many specialists cover.

    The last cover stands for itself and more, as in the paper.
    """
    pairs = np.array(result["pairs by cover"], float)
    chosen = np.minimum(np.arange(len(pairs)), MOST) == cover
    if not pairs[chosen].sum():
        return None

    def right(arm: str) -> float:
        shares = np.array(result["arms"][arm]["by cover"], float)
        return float(np.sum((shares * pairs)[chosen & (pairs > 0)]))

    return right(name) / right("generalist") - 1


def load(short: bool, data_dir: str | None) -> dict:
    """Images for choices and for the test: pairs of (train, test)."""
    if short:
        from sklearn.datasets import load_digits

        x, y = load_digits(return_X_y=True)
        x = (x / 16).astype("float32")
        return {
            "tune": ((x[:1000], y[:1000]), (x[1000:1200], y[1000:1200])),
            "test": ((x[:1200], y[:1200]), (x[1200:], y[1200:])),
        }
    train, tests = mnist.load("train", data_dir), mnist.load("test", data_dir)
    train, tests = ((halved(x), y) for x, y in (train, tests))
    kept, held_out = mnist.hold_out(*train)
    return {"tune": (kept, held_out), "test": (kept, tests)}


def halved(x: np.ndarray) -> np.ndarray:
    """28 x 28 pixels as means over 2 x 2."""
    return x.reshape(-1, 14, 2, 14, 2).mean(axis=(2, 4)).reshape(len(x), -1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data_dir", default=None, help="folder of TFDS data")
    parser.add_argument("--seed", type=int, default=None, help="this one only")
    parser.add_argument("--short", action="store_true", help="a quick check")
    parser.add_argument("--out", default=None, help="folder for the results")
    parser.add_argument("--work", default=None, help="where runs are kept")
    options = parser.parse_args()
    size = SHORT if options.short else Size()
    work = ".work/specialists" + ("-short" if options.short else "")
    runs = Runs(options.work or work)
    data = load(options.short, options.data_dir)
    tuning = Experiment(size, data, runs, 0, "tune")
    tuned = tune(tuning)

    def tested(seed: int) -> dict:
        settings = {"size": asdict(size), "chosen": tuned["chosen"]}
        experiment = Experiment(size, data, runs, seed, "test")
        make = functools.partial(test, experiment, tuned["chosen"])
        return runs(f"test-{seed}", settings, make)

    if options.seed is not None:
        tested(options.seed)
        return
    results = [tested(seed) for seed in range(size.seeds)]
    result = {
        "environment": environment("scikit-learn"),
        "data": "pairs of digits" if options.short else "pairs of MNIST digits",
        "size": asdict(size),
        "paper": PAPER,
        "tuning": tuned,
        "held-out errors inside a set": runs(
            "confusions",
            {"size": asdict(size)},
            lambda: confusions(tuning),
        ),
        **gathered(results),
        "seeds": results,
    }
    print(save_results("specialists", result, options.out))
    kd.plotting.class_covariance(
        Experiment(size, data, runs, 0, "test").found(*tuned["chosen"]["sets"]),
        pathlib.Path(options.out or RESULTS) / "specialists.png",
    )


if __name__ == "__main__":
    main()
