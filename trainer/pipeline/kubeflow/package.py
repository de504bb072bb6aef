"""Says what a package of Kubeflow Pipelines is to hold, and has the SDK write it."""

import inspect
import re
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

from edge_agent.durable import replace_file
from trainer.errors import ProjectError, RunError
from trainer.pipeline.kubeflow import task
from trainer.pipeline.steps import PRODUCTION

_TAIL_LINES: Final = 15
_TIMEOUT_S: Final = 300.0
# Kubernetes: a name of a claim (RFC 1123), and a path in a container.
_CLAIM: Final = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?")
# A key of a secret, and a variable of the environment.
_KEY: Final = re.compile(r"[-._a-zA-Z0-9]{1,253}")
_VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,252}")


class PlannedStep(Struct, frozen=True):
    """A step, and those whose artefacts it reads."""

    name: str
    after: tuple[str, ...]


class SecretVariable(Struct, frozen=True):
    """A variable that every task gets from a key of a Kubernetes secret; the package holds the names alone."""

    secret: str
    key: str
    variable: str


class PackagePlan(Struct, frozen=True):
    """All that the program that writes the package is told.

    Attributes:
        name: of the pipeline.
        image: that runs each step: it holds fieldloop, and kfp.
        project: folder of the project where the tasks see it; a parameter of the pipeline overrides it.
        volumes: claims, and where each is mounted in every task.
        task: source of what a task does.
        secrets: variables of every task.
        out: path of the package.
    """

    name: str
    description: str
    image: str
    project: str
    volumes: tuple[tuple[str, str], ...]
    steps: tuple[PlannedStep, ...]
    task: str
    out: str
    secrets: tuple[SecretVariable, ...] = ()


def plan_package(
    model: str,
    *,
    image: str,
    project: str,
    volumes: tuple[tuple[str, str], ...],
    out: Path,
    secrets: tuple[SecretVariable, ...] = (),
) -> PackagePlan:
    """Plan the package of the production pipeline.

    Args:
        model: name of the project.
        image: that runs each step.
        project: folder of the project where the tasks see it.
        volumes: claims, and where each is mounted.
        out: the package.
        secrets: variables that every task gets from secrets.

    Raises:
        ProjectError: there can be no such image, path, claim, secret or variable.
    """
    if not image or image.split() != [image]:
        raise ProjectError(f"--image {image!r}: name an image, as registry.example/fieldloop:1")
    for path in (project, *(path for _, path in volumes)):
        if not path.startswith("/"):
            raise ProjectError(f"{path!r}: a path in a container begins with /")
    for claim, _ in volumes:
        if _CLAIM.fullmatch(claim) is None:
            raise ProjectError(f"--volume {claim!r}: a claim's name has small letters, digits, - and .")
    for each in secrets:
        if _CLAIM.fullmatch(each.secret) is None or _KEY.fullmatch(each.key) is None:
            raise ProjectError(
                f"--secret {each.secret}:{each.key}: a secret's name has small letters, digits, - and .; its key also "
                "capital letters and _"
            )
        if _VARIABLE.fullmatch(each.variable) is None:
            raise ProjectError(
                f"--secret {each.secret}:{each.key}={each.variable}: a variable has letters, digits and _; write "
                "SECRET:KEY=VARIABLE"
            )
    names = [each.variable for each in secrets]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ProjectError(f"--secret: the variable {twice[0]} is given twice; give it once")
    steps = tuple(PlannedStep(step.name, step.after) for step in PRODUCTION.order)
    return PackagePlan(
        name=f"fieldloop-{model.replace('_', '-')}",
        description=f"The production pipeline of {model}: {', '.join(step.name for step in steps)}.",
        image=image,
        project=project,
        volumes=volumes,
        steps=steps,
        task=inspect.getsource(task.carry_out),
        out=str(out),
        secrets=secrets,
    )


def write_package(plan: PackagePlan, python: Path, environment: Mapping[str, str]) -> None:
    """Write the package, in one piece: a file that stood there stays until the new one is whole.

    Args:
        plan: what to write.
        python: of the SDK's environment.
        environment: variables of the process.

    Raises:
        RunError: the SDK failed; with its last words.
        ProjectError: the file cannot be written.
    """
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / "pipeline.yaml"
        _run_writer(msgspec.structs.replace(plan, out=str(made)), python, environment)
        try:
            replace_file(Path(plan.out), made.read_bytes())
        except OSError as error:
            raise ProjectError(f"{plan.out}: cannot be written: {error.strerror or error}") from error


def _run_writer(plan: PackagePlan, python: Path, environment: Mapping[str, str]) -> None:
    command = (str(python), "-I", str(Path(__file__).with_name("writer.py")))
    try:
        done = subprocess.run(
            command,
            input=msgspec.json.encode(plan),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=dict(environment),
            timeout=_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise RunError(f"the SDK of Kubeflow Pipelines wrote no package in {_TIMEOUT_S:.0f} s") from error
    if done.returncode != 0:
        words = done.stdout.decode(errors="replace").strip().splitlines()[-_TAIL_LINES:]
        raise RunError("\n".join(("the SDK of Kubeflow Pipelines wrote no package:", *words)))
