"""The package of Kubeflow Pipelines, written by the real SDK and run by its local runner, a process for each step."""

import hashlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from tests.conftest import REPOSITORY
from tests.unit.trainer.cli.projects import write_small_project
from tests.waiting import wait_until
from trainer.errors import MissingProgramError
from trainer.pipeline.kubeflow.environment import kubeflow_environment
from trainer.pipeline.runs import STEPS, RunOverview, load_run
from trainer.pipeline.steps import PRODUCTION

FAST: Final = 600.0
# Of the package.
OPTIONS: Final = (
    *("--image", "python-fieldloop:1", "--volume", "fieldloop-data:/data"),
    *("--secret", "stores:FIELDLOOP_STORES_METADATA", "--secret", "plant:uri=PLANT_DATABASE"),
)
# Run by the SDK's Python: reads the package with its own loader, and runs it, each task in a process of its own.
RUN: Final = """
import json, sys
from kfp import components, local
package, root, arguments = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
local.init(runner=local.SubprocessRunner(use_venv=False), pipeline_root=root)
components.load_component_from_file(package)(**arguments)
"""
# Reads the package into the message that a cluster reads it into: an unknown field is an error.
PARSE: Final = """
import sys, yaml
from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2
from kfp.kubernetes import kubernetes_executor_config_pb2
documents = list(yaml.safe_load_all(open(sys.argv[1], encoding="utf-8")))
spec = json_format.ParseDict(documents[0], pipeline_spec_pb2.PipelineSpec())
for document in documents[1:]:
    platform = json_format.ParseDict(document, pipeline_spec_pb2.PlatformSpec())
    for executor in platform.platforms["kubernetes"].deployment_spec.executors.values():
        message = kubernetes_executor_config_pb2.KubernetesExecutorConfig()
        json_format.ParseDict(json_format.MessageToDict(executor), message)
        assert message.pvc_mount[0].mount_path == "/data"
        given = [
            (secret.secret_name_parameter.runtime_value.constant.string_value, each.secret_key, each.env_var)
            for secret in message.secret_as_env
            for each in secret.key_to_env
        ]
        assert given == [
            ("stores", "FIELDLOOP_STORES_METADATA", "FIELDLOOP_STORES_METADATA"), ("plant", "uri", "PLANT_DATABASE")
        ], given
print(len(spec.root.dag.tasks))
"""


@pytest.fixture(scope="module")
def sdk() -> Path:
    """The Python of the SDK's environment, which is made where it is not there yet."""
    environment = kubeflow_environment(os.environ)
    try:
        environment.make(Path(sys.executable))
    except MissingProgramError as error:
        pytest.skip(f"the environment of Kubeflow's SDK cannot be made: {error}")
    return environment.python


@pytest.fixture(scope="module")
def package(sdk: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A package, written by the command."""
    assert sdk.is_file()
    folder = tmp_path_factory.mktemp("package")
    project = write_small_project(folder)
    out = folder / "pipeline.yaml"
    said = fieldloop("pipeline", "compile", str(project), "-o", str(out), *OPTIONS)
    assert "9 steps as fieldloop-quality" in said
    return out


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    return write_small_project(folder)


def environment() -> dict[str, str]:
    """Let the tasks find this checkout's ``fieldloop``."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    return os.environ | {"PATH": path, "PYTHONPATH": str(REPOSITORY)}


def fieldloop(*arguments: str) -> str:
    command = [sys.executable, "-m", "trainer.cli", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment())
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def begin(sdk: Path, package: Path, project: Path, **arguments: str) -> subprocess.Popen[str]:
    arguments = {"project": str(project), "reason": "a test", **arguments}
    command = [str(sdk), "-c", RUN, str(package), str(project / "kfp"), json.dumps(arguments)]
    return subprocess.Popen(
        command,
        env=environment(),
        cwd=project,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def run(sdk: Path, package: Path, project: Path, **arguments: str) -> str:
    process = begin(sdk, package, project, **arguments)
    said, _ = process.communicate(timeout=1200)
    assert process.returncode == 0, said
    return said


def last_run(project: Path) -> RunOverview:
    return load_run(project / ".fieldloop", "last")


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def model_of(project: Path) -> str:
    return sha256(project / ".fieldloop" / "pipeline" / last_run(project).head.run_id / "train" / "model.skops")


def tasks_of(package: Path) -> dict[str, Any]:
    documents = list(yaml.safe_load_all(package.read_text(encoding="utf-8")))
    tasks: dict[str, Any] = documents[0]["root"]["dag"]["tasks"]
    return tasks


@pytest.mark.slow
def test_the_package_is_what_a_cluster_reads_with_the_edges_of_our_own_graph(sdk: Path, package: Path) -> None:
    parsed = subprocess.run(
        [str(sdk), "-c", PARSE, str(package)], capture_output=True, text=True, check=False, env=environment()
    )
    assert parsed.returncode == 0, parsed.stderr
    assert parsed.stdout.strip() == "9"
    tasks = tasks_of(package)
    assert set(tasks) == set(STEPS)
    for step in PRODUCTION.order:
        task = tasks[step.name]
        assert set(task.get("dependentTasks", [])) == set(step.after)
        artefacts = task["inputs"].get("artifacts", {})
        sources = {each["taskOutputArtifact"]["producerTask"] for each in artefacts.values()}
        assert sources == set(step.after)
        # What must be carried out again, our own keys know.
        assert not task.get("cachingOptions", {}).get("enableCache")
    text = package.read_text(encoding="utf-8")
    assert text.count("image: python-fieldloop:1") == len(STEPS)
    assert "pip install" not in text
    assert "://" not in text.replace("gs://", "")


@pytest.mark.slow
def test_the_same_project_gives_the_same_package(package: Path, tmp_path: Path) -> None:
    again = tmp_path / "again.yaml"
    fieldloop("pipeline", "compile", str(package.parent), "-o", str(again), *OPTIONS)
    assert again.read_bytes() == package.read_bytes()


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_its_run_registers_the_very_model_of_a_run_of_our_own(
    sdk: Path, package: Path, project: Path, tmp_path: Path
) -> None:
    said = run(sdk, package, project)
    overview = last_run(project)
    assert [step.name for step in overview.steps] == list(STEPS)
    assert {step.executor for step in overview.steps} == {"Kubeflow Pipelines"}
    assert overview.end is not None
    assert overview.end.promoted
    assert overview.head.trigger == "kubeflow"
    # One process for each step.
    assert len(overview.attempts) == len(STEPS)
    assert "version 1 promoted" in said
    local = tmp_path / "local"
    local.mkdir()
    write_small_project(local)
    fieldloop("pipeline", "run", "--project", str(local))
    assert model_of(project) == model_of(local)
    made = next((project / "kfp").glob("*/train/made"))
    told = json.loads(made.read_text(encoding="utf-8"))
    assert told["run"] == overview.head.run_id
    assert {file["path"]: file["sha256"] for file in told["files"]}["model.skops"] == model_of(project)


def is_begun(project: Path, step: str) -> bool:
    return any((project / ".fieldloop" / "pipeline").glob(f"*/{step}/begun.json"))


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_run_that_was_killed_goes_on_with_what_is_finished_verified_and_not_carried_out_again(
    sdk: Path, package: Path, project: Path
) -> None:
    process = begin(sdk, package, project)
    wait_until(lambda: is_begun(project, "evaluate") or process.poll() is not None, FAST, "the step after the training")
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    broken = last_run(project)
    assert broken.end is None
    run_id = broken.head.run_id
    finished = [step.name for step in broken.steps]
    assert finished[:4] == list(STEPS[:4])
    folder = project / ".fieldloop" / "pipeline" / run_id
    before = {path: (sha256(path), path.stat().st_mtime_ns) for name in finished for path in files_in(folder / name)}

    said = run(sdk, package, project, run=run_id)
    resumed = last_run(project)
    assert resumed.head.run_id == run_id
    assert resumed.end is not None
    assert resumed.end.promoted
    assert {name: resumed.times_run(name) for name in finished} == dict.fromkeys(finished, 1)
    assert before == {path: (sha256(path), path.stat().st_mtime_ns) for path in before}
    assert said.count("kept: it is finished") >= len(finished)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_what_was_altered_meanwhile_is_found_out_by_its_hash(sdk: Path, package: Path, project: Path) -> None:
    process = begin(sdk, package, project)
    wait_until(lambda: is_begun(project, "train") or process.poll() is not None, FAST, "the training")
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    run_id = last_run(project).head.run_id
    splits = project / ".fieldloop" / "pipeline" / run_id / "prepare" / "splits.npz"
    whole = splits.read_bytes()
    splits.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    run(sdk, package, project, run=run_id)
    resumed = last_run(project)
    assert resumed.end is not None
    assert resumed.times_run("extract") == resumed.times_run("validate") == 1
    assert resumed.times_run("prepare") == 2
    verdict = resumed.verdict_on("prepare")
    assert verdict is not None
    assert splits.read_bytes() == whole


def files_in(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]
