"""Composes the command ``fieldloop`` of the commands of all floors."""

import traceback
from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, Final

import typer

from exporter.image.claims import TokenMaker
from trainer.cli.card_tokens import make_card_token
from trainer.cli.failures import FOR_PEOPLE, as_missing_package, exit_code_of
from trainer.cli.lazy import LazyGroup, Part
from trainer.cli.logs import configure_logging

# In the order in which a newcomer meets them.
PARTS: Final = (
    Part("demo", "Play the whole loop on this machine.", "trainer.demo.cli"),
    Part("init", "Write a commented fieldloop.toml for your own CSV or Parquet.", "trainer.cli.init"),
    Part("sample", "Write a small copy of a project, to test its pipeline on.", "trainer.cli.sample"),
    Part("experiment", "Look at data: a report on them, a model, and where it fails.", "trainer.cli.experiment"),
    Part("schema", "Say what a project's rows must be, and who has read that.", "trainer.cli.schema"),
    Part("features", "Declare features once; extract, look up and watch them.", "trainer.cli.features"),
    Part("pipeline", "Run the production pipeline: train, export, gate, promote.", "trainer.cli.pipeline"),
    Part("registry", "See model versions, promote them and take it back, open MLflow's page.", "trainer.cli.registry"),
    Part("serve", "Answer requests with a model, over HTTP.", "trainer.cli.serve"),
    Part("score", "Score a file of rows with a model: Parquet or CSV.", "trainer.cli.score"),
    Part("lineage", "See what a model, a feature or a run came from, and what came of it.", "trainer.cli.lineage"),
    Part("export", "Turn a model into every form that a device runs, proven.", "trainer.cli.export"),
    Part("bundle", "Pack bundles, look into them, check and compare them.", "exporter.bundles.cli"),
    Part("publish", "Sign a bundle and list it in the update repository.", "trainer.cli.publish"),
    Part("repository", "Make and serve the update repository.", "exporter.repository.cli"),
    Part("image", "Write SD-card images to cards, and list them for Raspberry Pi Imager.", "exporter.image.cli"),
    Part("farm", "Run emulated boards, for trying a fleet without hardware.", "exporter.image.emulation.farm_cli"),
    Part("agent", "Install the agent on a board that runs, over SSH.", "exporter.image.over_ssh.cli"),
    Part("fleet", "Make a fleet's authority, and run where devices enrol.", "trainer.cli.fleet_folder"),
    Part("device", "Add, list, revoke and rotate the identities of devices.", "broker.commands.identities"),
    Part("person", "Certificates for people and services, by role.", "broker.commands.identities"),
    Part("broker", "Run an MQTT broker on this machine.", "broker.cli"),
    Part("monitor", "Store what devices send, and drive the loop: ask, confirm, mend.", "trainer.cli.fleet"),
    Part("rollout", "Order a bundle to the fleet, ring by ring.", "trainer.cli.fleet"),
    Part("audit", "See which orders were given, by whom and when.", "broker.commands.audits"),
    Part("devices", "List devices with bundle, rows and estimated quality.", "trainer.cli.fleet"),
    Part(
        "shadow",
        "Let a second bundle score beside the one that counts, and see how far it differs.",
        "trainer.cli.shadow",
    ),
    Part("wire", "Look at what travels between devices and the trainer.", "broker.cli"),
)


class Fieldloop(LazyGroup):
    """All commands; errors that are meant for people end a command with one message and their exit code."""

    parts: ClassVar[tuple[Part, ...]] = PARTS

    def invoke(self, ctx: Any) -> Any:  # noqa: ANN401 - typer carries click's types privately
        """Run the command that was asked for."""
        try:
            return super().invoke(ctx)
        except ModuleNotFoundError as error:
            missing = as_missing_package(error)
            if missing is None:
                raise
            raise _told(missing, verbose=ctx.params["verbose"]) from error
        except FOR_PEOPLE as error:
            raise _told(error, verbose=ctx.params["verbose"]) from error


app = typer.Typer(cls=Fieldloop, no_args_is_help=True, add_completion=False)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run ``fieldloop`` and exit with its code."""
    typer.main.get_command(app).main(args=arguments, prog_name="fieldloop")


def _print_version(wanted: bool) -> None:  # noqa: FBT001 - typer calls it with the option's value
    if wanted:
        from importlib.metadata import version

        typer.echo(f"fieldloop {version('fieldloop')}")
        raise typer.Exit


@app.callback()
def fieldloop(
    ctx: typer.Context,
    *,
    _version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", callback=_print_version, is_eager=True)
    ] = False,
    verbose: Annotated[bool, typer.Option("--verbose", help="Show logs, and the traceback of an error.")] = False,
) -> None:
    """Keep machine-learning models alive on devices: train here, score there, notice a loss, mend it."""
    configure_logging(verbose=verbose)
    ctx.obj = TokenMaker(make_card_token)


def _told(error: Exception, *, verbose: bool) -> typer.Exit:
    if verbose:
        typer.echo("".join(traceback.format_exception(error)), err=True)
    for line in str(error).splitlines() or [type(error).__name__]:
        typer.echo(f"fieldloop: {line}", err=True)
    return typer.Exit(exit_code_of(error))
