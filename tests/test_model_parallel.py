"""A teacher that is divided among devices stays so, and teaches the same."""

import re

import devices
import numpy as np
import pytest

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("model parallel")]
WORKER = "model_parallel_worker.py"
GATHERED = re.compile(r"= \w+\[([\d,]*)\]\S* all-gather\(")


@pytest.fixture(scope="module", params=["teacher", "both"])
def results(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    found = devices.results(WORKER, "jax", folder, request.param, devices=4)
    return found | {"step": distilling(folder)}


def distilling(folder):
    """The first compiled step that devices take together; others follow."""
    files = (folder / "hlo").glob("*train_step*after_optimizations.txt")
    texts = [file.read_text() for file in sorted(files)]
    return next(text for text in texts if "all-reduce(" in text)


def test_devices_learn_what_one_does(results):
    one, many = results["one"], results["many"]
    assert one.keys() == many.keys() == {"loss", "hard_loss", "soft_loss"}
    for name, values in one.items():
        np.testing.assert_allclose(many[name], values, rtol=0, atol=1e-5)


def test_no_weight_is_gathered_in_a_step(results):
    assert GATHERED.findall(results["step"]) == []


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
