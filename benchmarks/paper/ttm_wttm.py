"""The claims of Zheng and Yang 2024 on TTM and WTTM, tested on MNIST.

Question: which loss should a user take, with which temperature and weight, and
what of the paper comes out?

The students have two layers of 30 units, no regularisation, and learn from
50,000 training images for 12,000 updates of 100, with Adam whose rate falls to
0. The 10,000 other training images are for all choices, for the temperatures
that calibrate, and for what `kd.callbacks.Diagnostics` measures. The teacher,
two layers of 1200 units with dropout and shifts, learns from the same 50,000:
one teacher serves choices and final students alike. Final students have other
seeds than those that settings were chosen by. Test errors are those after the
last update, read once.

Arms: labels, label smoothing, confidence penalty, KD (soft targets and labels),
TTM, WTTM, each of these three without labels, DKD, and TTM with examples
weighed by the teacher's entropy, confidence or correctness. Each has twelve
candidates, `ARMS` in ttm_wttm_arms.py, each of two students. They are a plain
list and not a search of `kd.tuner`: a tuner keeps the score of the best epoch,
in a folder of one machine; here the last update counts, and runs go on
elsewhere. The teacher's logits come from a `kd.TeacherCache` all the same.

Parts, each a list of runs that is kept in the work folder and resumed:

  rates     the learning rate of all arms with a teacher: by KD, TTM and WTTM;
            those of labels alone have it among their candidates
  tuning    each arm's candidates, 2 seeds, by errors on held-out images
  heat      KD, TTM and WTTM over 5 temperatures and 5 weights, 3 seeds,
            held-out errors: how flat is the best region?
  entropy   of those, at the best weight of each temperature, and of students
            without labels: is the students' entropy ordered KD < TTM < WTTM,
            and which comes closest to the tempered teacher?
  rule      of those: is the best weight of TTM that of WTTM times the
            teacher's mean power sum?
  curve     labels, KD, TTM and WTTM after 3,000 to 36,000 updates
  defaults  KD, TTM and WTTM with the weights that a `kd.Distiller` gives them
  test      all arms as chosen, but the worst of the three weights; 10 seeds:
            errors, NLL and ECE before and after a temperature is fitted
  longer    labels, KD, TTM and WTTM as chosen, after 24,000 updates
  teachers  of 100, 300 and 1200 units: what do better teachers add? Settings
            are chosen for each; 5 seeds
  wrong     0, 20 and 40 % wrong labels, for the teacher as well: each loss with
            and without the labels' term; settings are chosen with none and with
            40 %, by right labels; 5 seeds
  few       1 and 3 % of the images for the student; the teacher has seen all;
            settings are chosen with 3 %; 5 seeds; 1,500 updates, as so narrow a
            student learns few images by heart in more of them

The learning rate of all arms but labels' is that of `rates` everywhere.

Command: KERAS_BACKEND=jax OMP_NUM_THREADS=1 python -m benchmarks.paper.ttm_wttm
             --data_dir FOLDER  (of TFDS data; downloaded if left out)
         `--part NAME` runs one part, so that two processes can share the work:
         first `rates`, then `tuning` beside `heat`, then `test` and `curve`
         beside the others. A run takes 7 seconds. `--short` proves nothing,
         on scikit-learn's digits.
Minutes: 210 on one core: the five teachers 45; students of held-out scores 120,
         most of them of `tuning`, `heat`, `teachers` and `wrong`, those of the
         test 35, `few` 5.
Writes:  benchmarks/results/ttm_wttm.json and ttm_wttm.png, once all parts are
         there; the runs themselves in .work/ttm_wttm.
"""

from typing import Any

from benchmarks.harness import Runs
from benchmarks.paper import mnist
from benchmarks.paper.hinton_mnist import load
from benchmarks.paper.ttm_wttm_arms import SHORT, Size
from benchmarks.paper.ttm_wttm_labels import (
    few_labels,
    teachers,
    wrong_labels,
)
from benchmarks.paper.ttm_wttm_maps import entropy, heat, rule
from benchmarks.paper.ttm_wttm_models import Task
from benchmarks.paper.ttm_wttm_parts import (
    curve,
    defaults,
    longer,
    rates,
    study,
    test,
    tuning,
)
from benchmarks.paper.ttm_wttm_plot import figure

NAME = "ttm_wttm"
PARTS = {
    "rates": rates,
    "tuning": tuning,
    "heat": heat,
    "entropy": entropy,
    "rule": rule,
    "curve": curve,
    "defaults": defaults,
    "test": test,
    "longer": longer,
    "teachers": teachers,
    "wrong": wrong_labels,
    "few": few_labels,
}


def task(options: Any, size: Size, runs: Runs) -> Task:
    train, test = load(options.short, options.data_dir)
    kept, held_out = mnist.hold_out(*train, len(train[0]) // 6)
    return Task(
        "digits" if options.short else "mnist",
        kept,
        held_out,
        test,
        student=lambda: mnist.student_network(size.units),
        teacher=lambda *how: mnist.train_teacher(*how, seed=0),
    )


def main() -> None:
    study(__doc__, NAME, task, (SHORT, Size()), PARTS, figure)


if __name__ == "__main__":
    main()
