"""Ranks of torch: a loop of one's own is exact, and Keras's is refused."""

import json
import pathlib
import re
import subprocess
import sys

import keras
import numpy as np
import pages
import pytest
from scripts import free_port

pytestmark = [
    pytest.mark.skipif(
        keras.backend.backend() != "torch", reason="ranks are torch's"
    ),
    pytest.mark.xdist_group("ranks"),
]
WORKER = pathlib.Path(__file__).with_name("ranks_worker.py")
PAGE = pages.ROOT / "examples" / "from_a_laptop_to_a_pod.md"


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ranks")
    (folder / "loop.py").write_text(pages.block(PAGE, "example: ranks").text)
    done = subprocess.run(
        [sys.executable, WORKER, folder, str(free_port())],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_the_loop_of_the_page_learns_what_one_rank_does(results):
    for found in results["ranks"]:
        pairs = zip(found["weights"], results["alone"], strict=True)
        for weight, other in pairs:
            np.testing.assert_allclose(weight, other, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", ["fit", "train_on_batch"])
def test_ranks_that_would_drift_apart_are_refused(results, name):
    for rank, found in enumerate(results["ranks"]):
        message = (
            "exchange no gradients.* Received: torch.distributed with 2 "
            f"ranks, of which this is rank {rank}.*DistributedDataParallel"
        )
        assert re.search(message, found["refused"][name])
