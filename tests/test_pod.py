"""The script of the page on many devices, launched as the page says, on JAX.

Without shuffling, which makes other batches of shares than of all data.
"""

import os
import subprocess
import sys

import devices as devices_of_xla
import keras
import numpy as np
import pages
import pytest
from scripts import free_port

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("hosts")]
PAGE = pages.ROOT / "examples" / "from_a_laptop_to_a_pod.md"
DATA_PARALLEL = """keras.distribution.set_distribution(
    keras.distribution.DataParallel(auto_shard_dataset=False)
)
"""
LAST = """student.save(f"from_cache{process}.keras")
kernel = teacher.layers[0].kernel.value
print("of", kernel.shape, "each has", kernel.addressable_data(0).shape)
"""
SECONDS = 120


def block(name):
    return pages.block(PAGE, f"example: {name}").text


def script(sharded):
    text = block("train")
    if sharded:
        assert text.count(DATA_PARALLEL) == 1
        text = text.replace(DATA_PARALLEL, block("sharded"))
    parts = [] if sharded else [block("parts")]
    whole = 'x, y = data["x"], data["y"]\n' if sharded else ""
    text = "".join([text, *parts, whole, block("joined"), LAST])
    assert text.count("fit(") == 2
    return text.replace("epochs=", "shuffle=False, epochs=")


def job(folder, environments, devices, sharded=False):
    """What the processes of a job print, and what their students weigh."""
    folder.mkdir()
    (folder / "train.py").write_text(script(sharded))
    rng = np.random.default_rng(0)
    x = rng.normal(size=(130, 8)).astype("float32")
    np.savez(folder / "data.npz", x=x, y=rng.integers(10, size=130))
    teacher().save(folder / "teacher.keras")
    started = [start(folder, e, devices) for e in environments]
    try:
        printed = [one.communicate(timeout=SECONDS)[0] for one in started]
    finally:
        for one in started:
            one.kill()
    for one, text in zip(started, printed, strict=True):
        assert one.returncode == 0, text[-2000:]
    return printed, weights(folder, len(environments))


def teacher():
    keras.utils.set_random_seed(1)
    wide = keras.layers.Dense(32, "relu", name="teacher_wide")
    head = keras.layers.Dense(10, name="teacher_head")
    return keras.Sequential([keras.Input((8,)), wide, head])


def start(folder, environment, devices):
    flags = f" --xla_force_host_platform_device_count={devices}"
    flags = os.environ.get("XLA_FLAGS", "") + flags
    cpu = {"CUDA_VISIBLE_DEVICES": "", "JAX_PLATFORMS": "cpu"}
    cpu |= devices_of_xla.THREADS
    return subprocess.Popen(
        [sys.executable, "train.py", *["--hosts"] * bool(environment)],
        cwd=folder,
        env={**os.environ, **cpu, "XLA_FLAGS": flags, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def weights(folder, processes):
    """Of the student of each process, after the first fit and at the end."""
    found = []
    for process in range(processes):
        for name in ("student", "from_cache"):
            model = keras.models.load_model(folder / f"{name}{process}.keras")
            found.append(model.get_weights())
    return found


def by_ssh():
    address = {"KERAS_DISTRIBUTION_JOB_ADDRESSES": f"127.0.0.1:{free_port()}"}
    address["KERAS_DISTRIBUTION_NUM_PROCESSES"] = "2"
    return [{**address, "KERAS_DISTRIBUTION_PROCESS_ID": n} for n in "01"]


def by_slurm():
    """What `srun` tells the processes of two hosts, of one device each."""
    told = {"SLURM_JOB_ID": "1", "SLURM_STEP_NODELIST": "localhost"}
    told |= {"SLURM_NTASKS": "2", "SLURM_LOCALID": "0"}
    told["JAX_COORDINATOR_PORT"] = str(free_port())
    return [{**told, "SLURM_PROCID": n} for n in "01"]


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    return job(tmp_path_factory.mktemp("pod") / "alone", [{}], 4)[1]


def assert_same(found, alone):
    for student, other in zip(found, alone * 2, strict=True):
        for weight, expected in zip(student, other, strict=True):
            np.testing.assert_allclose(weight, expected, rtol=0, atol=1e-5)


def test_processes_of_slurm_learn_what_one_does(alone, tmp_path):
    """Each has its share of the data, and makes its part of a cache."""
    printed, found = job(tmp_path / "slurm", by_slurm(), 1)
    assert all("of (8, 32) each has (8, 32)" in text for text in printed)
    assert_same(found, alone)


def test_processes_with_a_teacher_in_pieces_do_too(alone, tmp_path):
    printed, found = job(tmp_path / "ssh", by_ssh(), 2, sharded=True)
    assert all("of (8, 32) each has (8, 16)" in text for text in printed)
    assert_same(found, alone)
