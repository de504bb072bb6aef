"""Scoring a file on a real Dask cluster: the same bytes as here, whoever dies in the midst of it."""

import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from edge_agent.clock import SystemClock
from tests.bundles import FEATURES, make_bundle
from tests.conftest import REPOSITORY
from tests.dask_cluster import dask_cluster
from tests.waiting import wait_until
from trainer.project.cluster import ClusterSection
from trainer.serving.batch.cluster import opened_place
from trainer.serving.batch.model import opened_model
from trainer.serving.batch.run import Options, score_file

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

N_ROWS = 40_000
OPTIONS = Options(keep=("id", "place"), probabilities=True, part_rows=1000)


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Rows with a number and a text to carry along; some are refused."""
    values = np.random.default_rng(5).normal(size=(len(FEATURES), N_ROWS))
    values[0, ::3000] = np.nan
    path = tmp_path_factory.mktemp("rows") / "rows.parquet"
    places = pa.array([f"hall {n % 7}" if n % 11 else None for n in range(N_ROWS)]).dictionary_encode()
    table = pa.table({"id": np.arange(N_ROWS), "place": places, **dict(zip(FEATURES, values, strict=True))})
    pq.write_table(table, path, row_group_size=1700)
    return path


def score(rows, out, bundle, address=None, options=OPTIONS, progress=lambda *_: None):
    with opened_model(bundle) as model:
        place_of = partial(
            opened_place,
            bundle=bundle,
            variant=model.variant,
            probabilities=options.probabilities,
            cluster=ClusterSection(dask=address),
            clock=SystemClock(),
        )
        return score_file(rows, out, model, options, progress, place_of=place_of if address else None)


def test_a_killed_worker_costs_no_part_and_the_answers_are_those_of_one_machine_to_the_byte(rows, tmp_path):
    bundle = make_bundle(tmp_path / "bundle")
    here = score(rows, tmp_path / "here.parquet", bundle)
    with dask_cluster(tmp_path / "cluster", n_workers=2) as cluster:

        def kill(done, _):
            if done == 5000:
                cluster.kill_worker(0)

        there = score(rows, tmp_path / "there.parquet", bundle, cluster.address, progress=kill)
        assert cluster.workers[0].returncode == -9
        for worker in ("worker-0", "worker-1"):
            assert cluster.log(worker).count("; opened") == 1
    assert there == here
    assert there.refused == {"missing": 14}
    assert (tmp_path / "there.parquet").read_bytes() == (tmp_path / "here.parquet").read_bytes()
    assert pq.read_table(tmp_path / "there.parquet")["id"].to_pylist() == list(range(N_ROWS))


class StoppedError(Exception):
    pass


def test_what_a_cluster_began_goes_on_here_and_the_other_way_round(rows, tmp_path):
    bundle = make_bundle(tmp_path / "bundle")
    score(rows, tmp_path / "here.parquet", bundle)

    def stop(done, _):
        if done == 10_000:
            raise StoppedError

    with dask_cluster(tmp_path / "cluster", n_workers=1) as cluster:
        with pytest.raises(StoppedError):
            score(rows, tmp_path / "one.parquet", bundle, cluster.address, progress=stop)
        with pytest.raises(StoppedError):
            score(rows, tmp_path / "two.parquet", bundle, progress=stop)
        assert score(rows, tmp_path / "two.parquet", bundle, cluster.address).resumed_rows == 10_000
    assert score(rows, tmp_path / "one.parquet", bundle).resumed_rows == 10_000
    for name in ("one", "two"):
        assert (tmp_path / f"{name}.parquet").read_bytes() == (tmp_path / "here.parquet").read_bytes()


def test_the_command_is_killed_on_a_cluster_and_goes_on(rows, tmp_path):
    bundle = make_bundle(tmp_path / "bundle")
    # Large enough for several parts of the command's own size.
    table = pq.read_table(rows)
    big = tmp_path / "big.parquet"
    with pq.ParquetWriter(big, table.schema) as writer:
        for _ in range(40):
            writer.write_table(table)
    command = [sys.executable, "-P", "-m", "trainer.cli", "score", str(big)]
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    options = ["--model", str(bundle), "--keep", "id"]
    subprocess.run([*command, str(tmp_path / "here.parquet"), *options], env=environment, check=True, cwd=tmp_path)
    with dask_cluster(tmp_path / "cluster", n_workers=2) as cluster:
        there = [*command, str(tmp_path / "there.parquet"), *options, "--dask", cluster.address]
        parts = tmp_path / "there.parquet.parts"
        with subprocess.Popen(there, env=environment, cwd=tmp_path) as process:
            wait_until((parts / "part-000001.arrow").exists, 120, "some parts are done")
            process.kill()
        assert process.returncode == -9
        assert not (tmp_path / "there.parquet").exists()
        done = subprocess.run(there, env=environment, check=True, cwd=tmp_path, capture_output=True, text=True)
        assert "by an earlier run" in done.stdout
    assert (tmp_path / "there.parquet").read_bytes() == (tmp_path / "here.parquet").read_bytes()
    refused = subprocess.run(
        [*command, "out.parquet", *options, "--dask", "nowhere"],
        env=environment,
        check=False,
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert refused.returncode == 2
    assert "--dask: 'nowhere' is no address of a Dask scheduler" in refused.stderr
