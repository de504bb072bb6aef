"""The command ``fieldloop pipeline compile``: the same steps for Kubeflow Pipelines."""

import os
from pathlib import Path
from typing import Annotated

import typer

from trainer.cli.providing import provide


def compile_command(
    image: Annotated[str, typer.Option("--image", help="That runs each step: it holds fieldloop, and kfp.")],
    project: Annotated[Path, typer.Argument(metavar="PROJECT", help="The project file, or its folder.")] = Path(),
    out: Annotated[Path, typer.Option("--out", "-o", help="The package, as YAML.")] = Path("pipeline.yaml"),
    volume: Annotated[
        list[str] | None,
        typer.Option(
            metavar="CLAIM:PATH", help="Mount a claim in every task; once for each. The first holds the project."
        ),
    ] = None,
    secret: Annotated[
        list[str] | None,
        typer.Option(
            metavar="SECRET:KEY[=VARIABLE]",
            help="Give every task a variable from a Kubernetes secret; once for each. Without VARIABLE it is KEY.",
        ),
    ] = None,
    folder: Annotated[
        str,
        typer.Option(metavar="PATH", help="Where tasks find the project; default: the first volume, else /project."),
    ] = "",
    *,
    yes: Annotated[bool, typer.Option("--yes", help="Install what is missing without asking.")] = False,
) -> None:
    """Write the package of Kubeflow Pipelines (v2) that runs the same steps, each in a pod of its own.

    The SDK that writes it is installed once, into an environment of its own in your cache folder. All tasks must see
    the same project and state folder: name a claim that several pods can mount.
    """
    from trainer.pipeline.kubeflow.environment import SIZE_TEXT, kfp_version, kubeflow_environment
    from trainer.pipeline.kubeflow.package import SecretVariable, plan_package, write_package
    from trainer.project.loading import load_project

    loaded = load_project(project)
    volumes = tuple(_volume_of(text) for text in volume or ())
    where = folder or (volumes[0][1] if volumes else "/project")
    secrets = tuple(SecretVariable(*_secret_of(text)) for text in secret or ())
    plan = plan_package(loaded.project.name, image=image, project=where, volumes=volumes, out=out, secrets=secrets)
    environment = kubeflow_environment(os.environ)
    provide(environment, size=SIZE_TEXT, command="fieldloop pipeline compile", yes=yes)
    write_package(plan, environment.python, os.environ)
    typer.echo(f"{out}: {len(plan.steps)} steps as {plan.name}; its parameters: project, run, trigger, reason.")
    typer.echo(f"The image {image} must hold fieldloop, and kfp=={kfp_version()} (pip install --no-deps suffices).")


def _secret_of(text: str) -> tuple[str, str, str]:
    name, colon, rest = text.partition(":")
    key, equals, variable = rest.partition("=")
    if not (name and colon and key and (variable or not equals)):
        raise typer.BadParameter(f"--secret {text!r}: write SECRET:KEY or SECRET:KEY=VARIABLE")
    return name, key, variable or key


def _volume_of(text: str) -> tuple[str, str]:
    claim, colon, path = text.partition(":")
    if not (claim and colon and path):
        raise typer.BadParameter(f"--volume {text!r}: write CLAIM:PATH, as fieldloop-data:/data")
    return claim, path
