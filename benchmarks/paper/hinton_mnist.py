"""Section 3 of Hinton, Vinyals and Dean 2015 on MNIST, all of its claims.

Question: what does a student gain from a teacher's soft targets, at which
temperature, and what is left of it when the transfer set omits classes?

Parts, each a list of runs that is kept in the work folder and resumed:

  tuning       every choice: students of a teacher of 50,000 training images,
               by their errors on the 10,000 others
  teachers     2 x 1200 units, dropout, max-norm, shifts of up to 2 pixels; 1
               seed, as a teacher takes as long as 15 students
  students     2 x 800 units on the plain images: labels alone, soft targets
               alone at T = 20, and what the tuning chose of soft targets,
               soft targets with labels, TTM and WTTM; 5 seeds
  longer       soft targets alone at T = 20 for 5 times as many epochs; 1 seed
  temperature  soft targets alone at 9 temperatures, for 800, 300 and 30 units
               per layer; 5 seeds for 30 units, 3 for the others
  omitted      a transfer set without threes, and one of sevens and eights
               alone, before and after shifting the biases; 5 seeds. These
               students see 50,000 images at most; the shifts are found on the
               other 10,000

Students learn for the same number of epochs with the same optimiser, from
cached logits. The final runs use all 60,000 training images, but for the part
on omitted classes. Test errors are those after the last epoch, read once.

Command: KERAS_BACKEND=jax python -m benchmarks.paper.hinton_mnist \\
             --data_dir FOLDER  (of TFDS data; downloaded if left out).
         `--part NAME` runs one part, so that two processes can share the
         work; `--short` takes seconds on scikit-learn's digits and proves
         nothing.
Minutes: about 75 on 2 cores: teachers 15, students 1 each, those of 300 and 30
         units 10 and 5 seconds. Two processes with a `--part` each take less.
Expect:  errors of 10,000: teacher 71, labels alone 145, soft targets at T = 20
         108 (92 in one longer run), and no method below 105; without threes
         217, of them 117 threes, and 154 and 22 after one shift; of sevens and
         eights alone 72 % wrong, 32 % after a common shift, 19 % after one for
         each class. The best temperature is lower for smaller students.
Writes:  benchmarks/results/hinton_mnist.json and hinton_mnist.png, once all
         parts are there; the runs themselves in .work/hinton_mnist.
"""

import argparse
import functools
import itertools
import pathlib
from collections.abc import Callable
from dataclasses import asdict, dataclass

import keras
import numpy as np

import keras_distill as kd
from benchmarks.harness.environment import environment, save_results
from benchmarks.harness.runs import Runs, summary
from benchmarks.paper import hinton_mnist_plot, mnist

PARTS = (
    "tuning",
    "teachers",
    "students",
    "longer",
    "temperature",
    "omitted",
)
TEMPERATURES = (1.0, 2.0, 2.5, 3.0, 4.0, 5.0, 8.0, 10.0, 20.0)
PAPER = {
    "teacher": 67,
    "labels alone": 146,
    "soft targets alone, T = 20": 74,
    "no threes": [206, 133],
    "no threes, shifted": [109, 14],
    "sevens and eights": 0.473,
    "sevens and eights, shifted": 0.132,
}


@dataclass(frozen=True)
class Method:
    """What a student learns from; no loss means labels alone."""

    loss: str | None = None
    temperature: float = 1.0
    hard_loss_weight: float = 0.0
    soft_loss_weight: float = 1.0
    learning_rate: float = 3e-3

    def __str__(self) -> str:
        if self.loss is None:
            return f"labels alone, rate {self.learning_rate:g}"
        return (
            f"{self.loss}({self.temperature:g}), hard "
            f"{self.hard_loss_weight:g}, soft {self.soft_loss_weight:g}"
        )


PAPERS = Method("SoftTargets", 20.0)
# The candidates for each of the reported methods.
GRID = {
    "labels alone": [Method(learning_rate=rate) for rate in (1e-3, 3e-3)],
    "soft targets alone": [
        Method("SoftTargets", t) for t in (2.0, 4.0, 8.0, 20.0)
    ],
    "soft targets and labels": [
        Method("SoftTargets", t, 0.1, 0.9) for t in (4.0, 20.0)
    ]
    + [Method("SoftTargets", 4.0, 0.5, 0.5)],
    "TTM": [Method("TTM", t, 0.0, 1.0) for t in (2.0, 4.0)]
    + [Method("TTM", 4.0, 1.0, 10.0)],
    "WTTM": [Method("WTTM", t, 0.0, 1.0) for t in (2.0, 4.0)]
    + [Method("WTTM", 4.0, 1.0, 2.25)],
}


@dataclass(frozen=True)
class Size:
    """How long, how wide and how often; `--short` is small."""

    teacher_units: int = 1200
    teacher_epochs: int = 80
    student_epochs: int = 12
    units: tuple[int, ...] = (800, 300, 30)
    temperatures: tuple[float, ...] = TEMPERATURES
    teachers: int = 1
    seeds: int = 5
    sweep_seeds: tuple[int, ...] = (3, 3, 5)
    longer: int = 5
    longer_seeds: int = 1
    tuning_seeds: int = 1
    candidates: int | None = None


SHORT = Size(
    teacher_units=32,
    teacher_epochs=2,
    student_epochs=2,
    units=(8,),
    temperatures=(1.0, 20.0),
    seeds=1,
    sweep_seeds=(1,),
    longer=2,
    longer_seeds=1,
    candidates=1,
)


class Experiment:
    """The data, the runs, and the teachers with their cached logits."""

    def __init__(
        self, size: Size, train: tuple, test: tuple, work: pathlib.Path
    ) -> None:
        self.size, self.train, self.test = size, train, test
        self.work = work
        self.runs = Runs(work / "runs")
        held_out = len(train[0]) // 6
        self.kept, self.held_out = mnist.hold_out(*train, held_out)

    def run(self, name: str, settings: dict, make: Callable[[], dict]) -> dict:
        common = {
            "backend": keras.backend.backend(),
            "teacher": [self.size.teacher_units, self.size.teacher_epochs],
            "student_epochs": self.size.student_epochs,
        }
        return self.runs(name, common | settings, make)

    def teacher(self, seed: int, whole: bool = True) -> keras.Model:
        return mnist.train_teacher(
            self.train if whole else self.kept,
            self.size.teacher_epochs,
            seed,
            self.work / f"{self.teacher_name(seed, whole)}.keras",
            self.size.teacher_units,
        )

    def teacher_name(self, seed: int, whole: bool) -> str:
        size = self.size
        settings = f"{size.teacher_units}-{size.teacher_epochs}-{seed}"
        return f"teacher-{'all' if whole else 'part'}-{settings}"

    @functools.cached_property
    def logits(self) -> np.ndarray:
        """The first teacher's logits for all training images."""
        return self.cached_logits(whole=True)

    @functools.cached_property
    def tuning_logits(self) -> np.ndarray:
        """The tuning teacher's logits for the images that it has seen."""
        return self.cached_logits(whole=False)

    def cached_logits(self, whole: bool) -> np.ndarray:
        x = (self.train if whole else self.kept)[0]
        cache = kd.TeacherCache.build(
            self.teacher(0, whole),
            x,
            self.work / f"{self.teacher_name(0, whole)}-logits",
            batch_size=1000,
            verbose=0,
        )
        return np.array(cache.logits(0, len(x)))

    def student(
        self,
        method: Method,
        units: int,
        data: tuple,
        logits: np.ndarray | None,
        seed: int,
        longer: int = 1,
    ) -> keras.Model:
        """A student, trained on images, labels and a teacher's logits."""
        keras.utils.set_random_seed(1000 + seed)
        student = mnist.student_network(units)
        x, y = data
        epochs = self.size.student_epochs * longer
        rate = method.learning_rate
        optimizer = mnist.adam(len(x), epochs, rate=rate)
        fit = {"batch_size": mnist.BATCH, "epochs": epochs, "verbose": 0}
        if method.loss is None:
            student.compile(optimizer, mnist.CROSSENTROPY)
            student.fit(x, y, **fit)
            return student
        distiller = kd.Distiller(
            None,
            student,
            getattr(kd.losses, method.loss)(temperature=method.temperature),
            hard_loss_weight=method.hard_loss_weight,
            soft_loss_weight=method.soft_loss_weight,
        )
        distiller.compile(optimizer, mnist.CROSSENTROPY)
        distiller.fit(kd.WithTeacherLogits(x, logits), y, **fit)
        return distiller.student

    def tested(
        self, method: Method, units: int, seed: int, longer: int = 1
    ) -> dict:
        """The test errors of a student of all training images."""

        def make() -> dict:
            model = self.student(
                method, units, self.train, self.logits, seed, longer
            )
            return {"errors": mnist.errors(model, *self.test)}

        settings = {"method": asdict(method), "units": units, "seed": seed}
        name = f"test {units} {method} {seed}"
        if longer > 1:
            name, settings["longer"] = f"{name}, {longer} x longer", longer
        return self.run(name, settings, make)

    @property
    def grid(self) -> dict[str, list[Method]]:
        kept = slice(self.size.candidates)
        return {group: methods[kept] for group, methods in GRID.items()}

    # Each part returns what the report says of it.

    def tuning(self) -> dict:
        """Errors on held-out images, and the best of each method."""
        scores = {}
        for group, methods in self.grid.items():
            scores[group] = {
                str(method): [
                    self.held_out_errors(method, seed)
                    for seed in range(self.size.tuning_seeds)
                ]
                for method in methods
            }
        teacher = self.run(
            "tuning teacher",
            {},
            lambda: {
                "errors": mnist.errors(
                    self.teacher(0, whole=False), *self.held_out
                )
            },
        )
        return {"teacher": teacher["errors"], "students": scores}

    def held_out_errors(self, method: Method, seed: int) -> int:
        def make() -> dict:
            units, logits = self.size.units[0], self.tuning_logits
            model = self.student(method, units, self.kept, logits, seed)
            return {"errors": mnist.errors(model, *self.held_out)}

        settings = {"method": asdict(method), "seed": seed}
        return self.run(f"tuning {method} {seed}", settings, make)["errors"]

    def chosen(self) -> dict[str, Method]:
        scores = self.tuning()["students"]
        return {
            group: min(methods, key=lambda m: sum(scores[group][str(m)]))
            for group, methods in self.grid.items()
        }

    def teachers(self) -> dict:
        found = [
            self.run(
                f"teacher {seed}",
                {"seed": seed},
                lambda seed=seed: {
                    "errors": mnist.errors(self.teacher(seed), *self.test)
                },
            )
            for seed in range(self.size.teachers)
        ]
        return summary(run["errors"] for run in found)

    def students(self) -> dict:
        methods = {"soft targets alone, T = 20": PAPERS} | self.chosen()
        units, seeds = self.size.units[0], self.size.seeds
        errors = self.over_seeds(list(methods.values()), units, seeds)
        return {
            name: {"method": str(method)} | summary(errors[method])
            for name, method in methods.items()
        }

    def longer(self) -> dict:
        size = self.size
        return summary(
            self.tested(PAPERS, size.units[0], seed, size.longer)["errors"]
            for seed in range(size.longer_seeds)
        )

    def temperature(self) -> dict:
        methods = [Method("SoftTargets", t) for t in self.size.temperatures]
        result = {}
        sizes = zip(self.size.units, self.size.sweep_seeds, strict=True)
        for units, seeds in reversed(list(sizes)):
            errors = self.over_seeds(methods, units, seeds)
            result[str(units)] = {
                f"{method.temperature:g}": summary(errors[method])
                for method in methods
            }
        return result

    def over_seeds(
        self, methods: list[Method], units: int, seeds: int
    ) -> dict[Method, list[int]]:
        """Test errors of each seed, all methods of one before the next."""
        errors: dict[Method, list[int]] = {method: [] for method in methods}
        for seed, method in itertools.product(range(seeds), methods):
            found = self.tested(method, units, seed)["errors"]
            errors[method].append(found)
        return errors

    def omitted(self) -> dict:
        omissions = {
            "no threes": (
                [digit for digit in range(10) if digit != 3],
                {"3": [3], "each class": None},
            ),
            "sevens and eights": (
                [7, 8],
                {"7 and 8": [[7, 8]], "each class": None},
            ),
        }
        result = {}
        for name, (present, shifts) in omissions.items():
            runs = [
                self.run(
                    f"{name} {seed}",
                    {"seed": seed},
                    lambda p=present, s=shifts, seed=seed: self.omission(
                        p, s, seed
                    ),
                )
                for seed in range(self.size.seeds)
            ]
            result[name] = {
                row: {
                    key: summary(run[row][key] for run in runs)
                    for key in runs[0][row]
                }
                for row in runs[0]
            }
        return result

    def omission(self, present: list, shifts: dict, seed: int) -> dict:
        """Test errors of a student that never saw some of the classes."""
        order = np.random.default_rng(0).permutation(len(self.train[0]))
        rows = order[: len(self.kept[0])]
        rows = rows[np.isin(self.train[1][rows], present)]
        x, y = self.train[0][rows], self.train[1][rows]
        logits = self.logits[rows]
        units = self.size.units[0]
        student = self.student(PAPERS, units, (x, y), logits, seed)
        result = {"as trained": self.by_class(student, present)}
        for name, classes in shifts.items():
            for objective in ("accuracy", "likelihood"):
                amount = kd.bias.fit_bias(
                    student, self.held_out, classes, objective=objective
                )
                shifted = kd.bias.shift_bias(student, classes, amount)
                row = self.by_class(shifted, present)
                if len(amount) == 1:
                    row["shift"] = float(amount[0])
                result[f"{name}, {objective}"] = row
        frequencies = np.bincount(self.train[1], minlength=10)
        amount = kd.bias.match_class_frequencies(
            student, self.held_out[0], frequencies
        )
        shifted = kd.bias.shift_bias(student, None, amount)
        result["frequencies, no labels"] = self.by_class(shifted, present)
        return result

    def by_class(self, model: keras.Model, present: list) -> dict:
        """Errors, and those on the classes that were not shown."""
        x, y = self.test
        logits = model.predict(x, batch_size=1000, verbose=0)
        wrong = np.argmax(logits, axis=-1) != y
        return {
            "errors": int(np.sum(wrong)),
            "errors on omitted": int(np.sum(wrong & ~np.isin(y, present))),
        }


def load(short: bool, data_dir: str | None) -> tuple:
    if not short:
        return mnist.load("train", data_dir), mnist.load("test", data_dir)
    from sklearn.datasets import load_digits

    x, y = load_digits(return_X_y=True)
    # Eight by eight pixels in the middle of an image as large as MNIST's.
    images = np.pad(x.reshape(-1, 8, 8), ((0, 0), (10, 10), (10, 10)))
    x, y = images.reshape(len(x), -1).astype("float32") / 16, y.astype("int32")
    return (x[:1200], y[:1200]), (x[1200:], y[1200:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data_dir", default=None, help="folder of TFDS data")
    parser.add_argument("--part", choices=PARTS, action="append")
    parser.add_argument("--short", action="store_true", help="a quick check")
    parser.add_argument("--out", default=None, help="folder for the results")
    parser.add_argument("--work", default=None, help="where runs are kept")
    options = parser.parse_args()
    work = ".work/hinton_mnist" + ("-short" if options.short else "")
    train, test = load(options.short, options.data_dir)
    size = SHORT if options.short else Size()
    experiment = Experiment(
        size, train, test, pathlib.Path(options.work or work)
    )
    found = {
        part: getattr(experiment, part)() for part in options.part or PARTS
    }
    if options.part:
        return
    result = {
        "environment": environment("tensorflow-datasets"),
        "data": "digits" if options.short else "mnist",
        "test_images": len(test[0]),
        "size": asdict(size),
        "paper": PAPER,
        **found,
    }
    path = save_results("hinton_mnist", result, options.out)
    hinton_mnist_plot.draw(path)


if __name__ == "__main__":
    main()
