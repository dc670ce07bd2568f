"""Two processes of JAX, over which a teacher is spread, do what one does."""

import json
import os
import pathlib
import re
import subprocess
import sys

import devices
import numpy as np
import pytest
from scripts import free_port

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("hosts")]
WORKER = pathlib.Path(__file__).with_name("hosts_worker.py")
SECONDS = 120


def start(folder, address, process, processes, *epoch):
    numbers = map(str, [process, processes, *epoch])
    command = [sys.executable, WORKER, folder, address, *numbers]
    with open(folder / f"{process}.log", "a") as log:
        environment = {**os.environ, **devices.THREADS}
        return subprocess.Popen(
            command, stdout=log, stderr=log, env=environment
        )


def run(folder, processes, *epoch):
    """Starts a job; one that breaks down in an epoch is stopped altogether."""
    folder.mkdir(exist_ok=True)
    job = folder, f"127.0.0.1:{free_port()}"
    started = [start(*job, i, processes, *epoch) for i in range(processes)]
    try:
        for process in reversed(started):
            process.wait(SECONDS)
            if epoch:
                break
    finally:
        for process in started:
            process.kill()
            process.wait()


def results(folder, processes):
    found = []
    for i in range(processes):
        path = folder / f"{i}.json"
        assert path.exists(), (folder / f"{i}.log").read_text()[-2000:]
        found.append(json.loads(path.read_text()))
    return found


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    folder = tmp_path_factory.mktemp("alone")
    run(folder, 1)
    return results(folder, 1)[0]


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """Two processes, of which one breaks down after two of four epochs."""
    folder = tmp_path_factory.mktemp("both")
    run(folder, 2, 1)
    assert not list(folder.glob("*.json"))
    run(folder, 2)
    return results(folder, 2)


def test_the_teacher_lies_in_pieces(alone, both):
    pieces = {found["pieces"] for found in (alone, *both)}
    assert pieces == {"P(None, 'model')"}


def test_a_fingerprint_is_the_same_wherever_the_pieces_are(alone, both):
    prints = {found["fingerprint"] for found in (alone, *both)}
    assert len(prints) == 1


def test_sums_of_an_array_are_the_same_however_it_lies(alone):
    expected = alone["layouts"].pop("NumPy")
    assert list(alone["layouts"].values()) == [expected] * 5


def test_each_device_computes_its_share_of_a_batch(alone):
    found = alone["on each device"]
    assert found["rows"] == [4, 4, 4, 4]
    assert found["count"] == [16, 13] and found["same"] == [True, True]


@pytest.mark.parametrize(
    "call, received",
    [
        ("x", "`x` .* Received: 13 examples in batches of 8, .* one has 5"),
        ("split", "`x` .* Received: 14 examples in batches of 8, .* has 6"),
        ("validation", "`validation_data` .* Received: 13 examples"),
        ("evaluate", "Received: a batch of another size"),
        ("fidelity", "Received: a batch of another size"),
    ],
)
def test_batches_that_devices_do_not_share_are_refused(alone, call, received):
    found = alone["on each device"]["refused"]
    message = f"{received}.* a multiple of 4, and leave out a smaller last"
    assert re.search(message, found[call]), found[call]
    assert found["updates"] == 0


def test_processes_compute_by_themselves_where_each_has_all(alone, both):
    """On data of their own, as for a part of a cache."""
    own = [one["on each device"]["logits"] for one in both]
    found = np.concatenate(own)
    np.testing.assert_allclose(found, alone["logits"], atol=1e-5)


def test_processes_that_have_all_of_a_teacher_make_parts_of_a_cache(
    alone, both
):
    for one in both:
        found = one["on each device"]["joined"]
        np.testing.assert_allclose(found, alone["logits"], atol=1e-5)


def test_a_cache_goes_on_where_one_process_was_ahead(both):
    for one in both:
        np.testing.assert_array_equal(one["in step"]["resumed"], one["logits"])


@pytest.mark.parametrize(
    "what, message",
    [
        ("parts", r"they are one worker. Received: workers \[0, 1\] in"),
        ("data", "Received: in process 1 another dataset or other options"),
    ],
)
def test_builds_of_a_spread_teacher_that_differ_are_refused(
    what, message, both
):
    for one in both:
        assert re.search(message, one["in step"][what])
        assert not one["in step"]["written"]


def test_a_broken_job_goes_on_to_the_same_end(alone, both):
    assert alone["epochs"] == 4
    for found in both:
        assert found["epochs"] == 2
        assert found["loss"] == pytest.approx(alone["loss"], abs=1e-5)


def test_the_first_step_is_looked_at_by_all_processes_in_one_program(
    alone, both
):
    """One by one, operations that sum over processes would get entangled."""
    assert alone["looks"] == [False]
    for found in (alone, *both):
        assert "Received: 0 labels below 0 and " in found["label"]
    for found in both:
        assert found["looks"] == [True]


@pytest.mark.parametrize(
    "what", ["logits", "predicted", "saved", "weights", "best"]
)
def test_each_process_computes_and_stores_what_one_alone_does(
    what, alone, both
):
    for found in both:
        np.testing.assert_allclose(found[what], alone[what], atol=1e-5)


def test_files_bring_back_the_student(both):
    for found in both:
        for what in ("saved", "weights"):
            np.testing.assert_array_equal(found[what], found["predicted"])


@devices.needs("orbax")
def test_orbax_brings_back_the_distiller(alone, both):
    """With a student that is not Sequential; see test_checkpoints.py."""
    expected = alone["orbax"]["predicted"][2]
    for found in (alone, *both):
        assert found["orbax"]["pieces"] == "P(None, 'model')"
        saved, loaded, trained, resumed = found["orbax"]["predicted"]
        np.testing.assert_array_equal(loaded, saved)
        np.testing.assert_array_equal(resumed, trained)
        np.testing.assert_allclose(trained, expected, atol=1e-5)


def test_fidelity_is_that_of_one(alone, both):
    for found in both:
        assert found["fidelity"] == pytest.approx(alone["fidelity"], abs=1e-5)
