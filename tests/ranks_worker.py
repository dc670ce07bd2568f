"""Prints, as JSON, what ranks of torch learn, and one alone.

    ranks_worker.py FOLDER PORT

The folder holds the loop of each rank, `loop.py`.
torch is imported once; each rank runs in a fork.
"""

import json
import os
import pathlib
import sys

os.environ["CUDA_VISIBLE_DEVICES"] = ""

import keras
import numpy as np
import torch

import keras_distill as kd

RANKS, EPOCHS = 2, 5
FOLDER = pathlib.Path(sys.argv[1])
LOOP = FOLDER / "loop.py"
RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(16, 8)).astype("float32")
Y = RANDOM.integers(4, size=16)
LABELS = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def network(units, seed):
    keras.utils.set_random_seed(seed)
    hidden = keras.layers.Dense(units, "relu")
    return keras.Sequential([keras.Input((8,)), hidden, keras.layers.Dense(4)])


def trained_alone():
    """The student's weights after the same steps on whole batches."""
    teacher, student = network(16, 1), network(4, 2)
    optimizer = torch.optim.Adam(student.parameters(), 0.01)
    soft = kd.losses.WTTM(temperature=4.0)
    for _ in range(EPOCHS):
        for x, y in batches(X, Y, 8):
            with torch.no_grad():
                v = teacher(x, training=False)
            z = student(x, training=True)
            loss = LABELS(y, z) + 4.0 * soft(v, z)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return weights(student)


def batches(x, y, size):
    x, y = torch.from_numpy(x), torch.from_numpy(y)
    return list(zip(x.split(size), y.split(size), strict=True))


def weights(model):
    return [w.tolist() for w in model.get_weights()]


def rank_of_page(rank):
    """What the page's loop makes of a rank's share of each batch."""
    found = {"teacher": network(16, 1), "student": network(4, 2)}
    found |= {"kd": kd, "loss": LABELS, "epochs": EPOCHS}
    found["share"] = batches(X[rank::RANKS], Y[rank::RANKS], 8 // RANKS)
    exec(compile(LOOP.read_text(), LOOP.name, "exec"), found)
    result = {"weights": weights(found["student"]), "refused": {}}
    for name in ("fit", "train_on_batch"):
        result["refused"][name] = refusal(found, name)
    (FOLDER / f"{rank}.json").write_text(json.dumps(result))
    torch.distributed.destroy_process_group()


def refusal(found, name):
    soft = kd.losses.SoftTargets(2.0)
    distiller = kd.Distiller(found["teacher"], found["student"], soft)
    distiller.compile("sgd", LABELS)
    distiller.evaluate(X, Y, verbose=0)  # Each rank may, by itself.
    before = weights(found["student"])
    try:
        getattr(distiller, name)(X, Y)
    except RuntimeError as error:
        assert weights(found["student"]) == before
        return str(error)
    return None


def fork(rank):
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": sys.argv[2]}
        numbers = {"RANK": str(rank), "WORLD_SIZE": str(RANKS)}
        os.environ.update({**address, **numbers, "GLOO_SOCKET_IFNAME": "lo"})
        rank_of_page(rank)
        code = 0
    except BaseException:
        sys.excepthook(*sys.exc_info())
    os._exit(code)


def main():
    children = [fork(rank) for rank in range(RANKS)]
    codes = [os.waitpid(child, 0)[1] for child in children]
    assert codes == [0] * RANKS
    names = [FOLDER / f"{rank}.json" for rank in range(RANKS)]
    ranks = [json.loads(name.read_text()) for name in names]
    print(json.dumps({"ranks": ranks, "alone": trained_alone()}))


main()
