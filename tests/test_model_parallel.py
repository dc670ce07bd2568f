"""A teacher that is divided among devices stays so, and teaches the same."""

import re

import devices
import numpy as np
import pytest

pytestmark = [
    pytest.mark.slow,
    pytest.mark.xdist_group("model parallel"),
    devices.needs("jax"),
]
WORKER = "model_parallel_worker.py"
GATHERED = re.compile(r"= \w+\[([\d,]*)\]\S* all-gather\(")
PLANNED = re.compile(r"Total bytes: (\d+)")


@pytest.fixture(scope="module", params=["teacher", "both"])
def results(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    found = devices.results(WORKER, "jax", folder, request.param, devices=4)
    return found | {"folder": folder, "looped": request.param == "both"}


def compiled(results, together):
    """Step and memory report of the first that one device, or all, take."""
    folder = results["folder"] / "hlo"
    for file in sorted(folder.glob("*train_step*after_optimizations.txt")):
        step = file.read_text()
        if ("all-reduce(" in step) == together:
            (report,) = folder.glob(f"{file.stem}-memory-usage-report.txt")
            return step, int(PLANNED.search(report.read_text())[1])
    raise AssertionError(f"No such step in {folder}.")


def test_devices_learn_what_one_does(results):
    one, many = results["one"], results["many"]
    assert one.keys() == many.keys() == {"loss", "hard_loss", "soft_loss"}
    for name, values in one.items():
        np.testing.assert_allclose(many[name], values, rtol=0, atol=1e-5)


def test_nothing_is_gathered_in_a_step(results):
    step, _ = compiled(results, together=True)
    assert GATHERED.findall(step) == []
    assert (" while(" in step) == results["looped"]


def test_a_step_needs_as_much_less_memory_as_the_others_hold(results):
    (_, one), (_, many) = (compiled(results, x) for x in (False, True))
    held, whole = results["bytes"]
    assert many < one - (whole - held)


def test_each_device_holds_its_part_of_the_teacher(results):
    on_a_device, whole = results["bytes"]
    bias = 4 * 12  # On each of them.
    assert on_a_device - bias == (whole - bias) / 2


def test_a_specialists_head_stays_whole_where_it_cannot_be_divided(results):
    alone, divided = results["alone"], results["divided"]
    assert alone["pieces"] == [[16, 16], [16], [16, 3], [3]]
    assert divided["pieces"] == [[16, 4], [16], [16, 3], [3]]
    for found, expected in zip(
        divided["predicted"], alone["predicted"], strict=True
    ):
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4)
