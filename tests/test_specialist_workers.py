"""train_specialists in other processes, one of which is killed."""

import functools
import multiprocessing
from concurrent.futures import ProcessPoolExecutor

import pytest
import specialist_problem as problem
import specialist_worker
from specialist_problem import SETS, SHORT, assert_same

from keras_distill.specialists import train_specialists

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    """What jobs that are never disturbed make."""
    folder = tmp_path_factory.mktemp("expected")
    return train_specialists(
        problem.generalist(), problem.examples(), SETS, folder, **SHORT
    )


def spawned(workers=2):
    context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(workers, context)


def test_a_pool_whose_process_dies_is_made_anew(tmp_path, expected):
    make = functools.partial(
        specialist_worker.examples_that_kill_once, tmp_path
    )
    pools = []

    def pool():
        pools.append(spawned())
        return pools[-1]

    found = train_specialists(
        problem.generalist(), make, SETS, tmp_path, executor=pool, **SHORT
    )
    assert (tmp_path / "killed").exists()
    assert len(pools) in (2, 3)  # Whether the other job had finished.
    assert_same(found, expected)
    with pytest.raises(RuntimeError, match="after shutdown"):
        pools[-1].submit(int)


def test_dask_gives_the_jobs_of_a_lost_worker_to_another(tmp_path, expected):
    from distributed import Client, LocalCluster

    make = functools.partial(
        specialist_worker.examples_that_kill_once, tmp_path
    )
    cluster = LocalCluster(
        n_workers=2,
        threads_per_worker=1,
        processes=True,
        dashboard_address=None,
        local_directory=tmp_path,
    )
    with cluster, Client(cluster) as client:
        before = set(client.scheduler_info()["workers"])
        found = train_specialists(
            problem.generalist(),
            make,
            SETS,
            tmp_path / "shared",
            executor=client.get_executor(),
            **SHORT,
        )
        after = set(client.scheduler_info()["workers"])
    assert (tmp_path / "killed").exists()
    assert before != after  # One of them was lost.
    assert_same(found, expected)
