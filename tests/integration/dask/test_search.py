"""The search on a real Dask cluster: what comes out is what one machine makes, whoever dies in the midst of it."""

import hashlib
import re
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
from distributed.protocol.pickle import dumps

from tests.conftest import REPOSITORY
from tests.dask_cluster import DaskCluster, dask_cluster
from tests.integration.dask.searching import FIVE, a_lesson, made_by, search, trials_of
from tests.ports import free_port
from tests.unit.trainer.cli.projects import write_small_project
from tests.waiting import wait_until
from trainer.cluster import crew
from trainer.cluster.kit import work
from trainer.errors import ClusterError
from trainer.pipeline.search.cluster import _answer_there
from trainer.pipeline.search.lesson_bytes import lesson_bytes
from trainer.pipeline.search.trial import Draw
from trainer.project.cluster import ClusterSection

# Two cores, on which everything runs at once; each process of Python loads for seconds.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def test_a_fixed_list_of_trials_gives_the_same_bytes_and_a_killed_worker_costs_none_of_it(tmp_path: Path) -> None:
    lesson = a_lesson()
    search(tmp_path / "here", lesson, None)
    with dask_cluster(tmp_path / "cluster", n_workers=2) as cluster:

        def kill(begun: int) -> None:
            if begun == 3:
                # It was given blocks of these trials, and has answered some of earlier ones at most.
                cluster.kill_worker(0)

        search(tmp_path / "there", lesson, cluster.address, kill)
        assert cluster.workers[0].returncode == -9
        assert cluster.workers[1].poll() is None
        assert re.search(r"Remove worker.*worker-0|worker-0.*removed", cluster.log("scheduler"), re.IGNORECASE)
    trials = trials_of(tmp_path / "there")
    assert [params["family"] for _, params, *_ in trials] == FIVE
    assert {state for state, *_ in trials} <= {"COMPLETE", "PRUNED"}
    assert trials == trials_of(tmp_path / "here")
    assert made_by(tmp_path / "there") == made_by(tmp_path / "here")
    assert "model.skops" in made_by(tmp_path / "here")


@pytest.mark.parametrize("ahead", [1, 3])
def test_a_search_that_learns_from_its_trials_is_the_same_there_and_here(tmp_path: Path, ahead: int) -> None:
    lesson = a_lesson(240, candidates=["forest", "logistic"], trials=10, ahead=ahead)
    search(tmp_path / "here", lesson, None)
    with dask_cluster(tmp_path / "cluster", n_workers=2) as cluster:
        search(tmp_path / "there", lesson, cluster.address, lambda n: cluster.kill_worker(1) if n == 8 else None)
    trials = trials_of(tmp_path / "there")
    assert len(trials) == 10
    assert trials == trials_of(tmp_path / "here")
    assert made_by(tmp_path / "there") == made_by(tmp_path / "here")


def _is_closed(cluster: DaskCluster, worker: str) -> bool:
    return ": closed" in cluster.log(worker)


def test_the_data_are_sent_once_to_each_worker_and_taken_away_at_the_end(tmp_path: Path) -> None:
    lesson = a_lesson()
    data = lesson_bytes(lesson)
    assert lesson_bytes(a_lesson()) == data
    taken = f"{len(data)} bytes, sha256 {hashlib.sha256(data).hexdigest()}; opened"
    with dask_cluster(tmp_path / "cluster", n_workers=2) as cluster:

        def join(begun: int) -> None:
            if begun == 2:
                cluster.start_worker()

        search(tmp_path / "there", lesson, cluster.address, join)
        for worker in ("worker-0", "worker-1", "worker-2"):
            wait_until(partial(_is_closed, cluster, worker), 60)
            assert cluster.log(worker).count(taken) == 1
    # What a task carries: a draw and a number.
    task = dumps((work, "a kit", _answer_there, Draw("forest", {"trees": 100, "depth": 8}), 3))
    assert len(task) < 1000 < len(data) / 10


def test_a_scheduler_that_dies_leaves_a_search_that_goes_on(tmp_path: Path) -> None:
    lesson = a_lesson(240, candidates=["forest"], trials=8)
    search(tmp_path / "here", lesson, None)
    with dask_cluster(tmp_path / "one", n_workers=1) as cluster:

        def kill(begun: int) -> None:
            if begun == 7:
                cluster.scheduler.kill()

        with pytest.raises(ClusterError, match=r"the Dask scheduler at .* is gone.*the same command goes on"):
            search(tmp_path / "there", lesson, cluster.address, kill)
    before = [state for state, *_ in trials_of(tmp_path / "there")]
    assert before.count("COMPLETE") + before.count("PRUNED") >= 5
    with dask_cluster(tmp_path / "other", n_workers=1) as cluster:
        search(tmp_path / "there", lesson, cluster.address)
    ended = [trial for trial in trials_of(tmp_path / "there") if trial[0] != "FAIL"]
    assert [trial[1:] for trial in ended] == [trial[1:] for trial in trials_of(tmp_path / "here")]
    model = (tmp_path / "here" / "model.skops").read_bytes()
    assert (tmp_path / "there" / "model.skops").read_bytes() == model


def test_a_worker_with_other_code_is_refused_by_name(tmp_path: Path) -> None:
    other = tmp_path / "code"
    for package in ("broker", "edge_agent", "exporter", "trainer"):
        shutil.copytree(REPOSITORY / package, other / package, ignore=shutil.ignore_patterns("__pycache__"))
    with (other / "trainer" / "pipeline" / "fitting.py").open("a", encoding="utf-8") as file:
        file.write("# another version\n")
    with dask_cluster(tmp_path / "cluster", n_workers=0) as cluster:
        cluster.start_worker(code=other)
        with pytest.raises(ClusterError, match=r"Fieldloop's code \w+, here \w+; install the same Fieldloop"):
            search(tmp_path / "there", a_lesson(), cluster.address)


def test_a_worker_without_fieldloop_is_told(tmp_path: Path) -> None:
    for package in ("broker", "edge_agent", "exporter", "trainer"):
        (tmp_path / "none" / package).mkdir(parents=True)
        (tmp_path / "none" / package / "__init__.py").write_text(f"raise ImportError('no {package} here')\n")
    with dask_cluster(tmp_path / "cluster", n_workers=0) as cluster:
        cluster.start_worker(code=tmp_path / "none")
        with pytest.raises(ClusterError, match=r"does not know this Fieldloop: .*no .* here.*install it there"):
            search(tmp_path / "there", a_lesson(), cluster.address)


def test_an_address_where_nobody_answers_is_told_with_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(crew, "CONNECT_S", 2.0)
    with pytest.raises(ClusterError, match=r"no Dask scheduler answers at tcp://.*start one \(dask scheduler\)"):
        search(tmp_path / "there", a_lesson(), f"tcp://127.0.0.1:{free_port()}")


def test_a_cluster_without_a_worker_is_told_and_not_waited_for_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(crew, "WORKERS_S", 1.0)
    with dask_cluster(tmp_path / "cluster", n_workers=0) as cluster:
        with pytest.raises(ClusterError, match="has had no worker for 1 s; start some"):
            search(tmp_path / "there", a_lesson(), cluster.address)
        cluster.start_worker()
        monkeypatch.setattr(crew, "_LOOK_S", 0.5)
        with pytest.raises(ClusterError, match="has had no worker for 1 s"):
            search(
                tmp_path / "there", a_lesson(), cluster.address, lambda n: cluster.kill_worker(0) if n == 2 else None
            )


def test_what_a_killed_run_left_on_the_workers_is_taken_away_by_the_next(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from tests.integration.dask.searching import a_lesson, search; "
        "search(Path(sys.argv[1]), a_lesson(4000, candidates=['forest'], trials=500), sys.argv[2])"
    )
    with dask_cluster(tmp_path / "cluster", n_workers=1) as cluster:
        command = [sys.executable, "-c", program, str(tmp_path / "killed"), cluster.address]
        with subprocess.Popen(command, cwd=REPOSITORY) as process:
            wait_until(lambda: "; opened" in cluster.log("worker-0"), 120)
            process.kill()
        assert ": closed" not in cluster.log("worker-0")
        search(tmp_path / "next", a_lesson(candidates=["logistic"], trials=1), cluster.address)
        wait_until(lambda: cluster.log("worker-0").count(": closed") == 2, 60)


def test_a_run_of_the_pipeline_is_judged_on_the_cluster_and_says_so(tmp_path: Path) -> None:
    models = {}
    with dask_cluster(tmp_path / "cluster", n_workers=2) as cluster:
        for name, more in (("here", []), ("there", ["--dask", cluster.address])):
            (tmp_path / name).mkdir()
            project = write_small_project(tmp_path / name)
            command = [sys.executable, "-m", "trainer.cli", "pipeline", "run", "--project", str(project), *more]
            done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stdout + done.stderr
            assert ("judged on" in done.stdout) == bool(more), done.stdout
            (model,) = (project / ".fieldloop" / "pipeline").glob("*/train/model.skops")
            models[name] = model.read_bytes()
        assert cluster.log("worker-0").count("; opened") == 1
    assert models["here"] == models["there"]
    written = [path.read_bytes() for path in (tmp_path / "there").rglob("*.json")]
    assert written


def test_certificates_let_in_and_without_them_nobody_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "certificates"
    folder.mkdir()
    make = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    subject = ["-keyout", "key.pem", "-out", "cert.pem", "-days", "1", "-subj", "/CN=dask"]
    subprocess.run([*make, *subject], cwd=folder, check=True, capture_output=True)
    certificate, key = str(folder / "cert.pem"), str(folder / "key.pem")
    security = ["--protocol", "tls", "--tls-ca-file", certificate, "--tls-cert", certificate, "--tls-key", key]
    with dask_cluster(tmp_path / "cluster", n_workers=1, security=security) as cluster:
        lesson = a_lesson(candidates=["logistic"], trials=1)
        secured = ClusterSection(dask=cluster.address, ca=certificate, certificate=certificate, key=key)
        search(tmp_path / "there", lesson, secured)
        monkeypatch.setattr(crew, "CONNECT_S", 3.0)
        for address in (cluster.address, cluster.address.replace("tls://", "tcp://")):
            with pytest.raises(ClusterError, match="no Dask scheduler answers"):
                search(tmp_path / "refused", lesson, address)
    assert trials_of(tmp_path / "there")[0][0] == "COMPLETE"
