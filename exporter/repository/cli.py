"""The commands ``fieldloop repository``."""

from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from exporter.failures import exit_codes
from exporter.repository.passphrases import NewPassphraseOption, PassphraseOption, new_passphrase, passphrase_of
from exporter.repository.root_cli import app as root_app

if TYPE_CHECKING:
    from broker.messages import BundleRef

app = typer.Typer(no_args_is_help=True, help="Keep the signed repository that devices update from.")
app.add_typer(root_app, name="root")

Repository = Annotated[Path, typer.Option("--repository", help="Folder of the update repository.")]
Keys = Annotated[list[Path], typer.Option("--keys", help="Folder of its signing keys; repeatable.")]
RootKeys = Annotated[
    list[Path] | None,
    typer.Option("--root-keys-folder", help="Folder of the root's keys, repeatable; by default `root` in --keys."),
]
_EXPIRES_SOON = 10


def _parse_ref(text: str) -> "BundleRef":
    from broker.messages import BundleRef

    name, _, version = text.partition("/")
    if not version.isdigit():
        raise typer.BadParameter(f"{text!r}: write name/version, for example rain/3")
    return BundleRef(name, int(version))


@app.command("init")
def init_command(
    repository: Repository,
    keys: Annotated[Path, typer.Option("--keys", help="Folder for the keys that publishing needs.")],
    root_keys_folder: Annotated[
        Path | None, typer.Option(help="Folder for the root's keys; by default `root` in --keys.")
    ] = None,
    root_keys: Annotated[int, typer.Option(min=1, help="How many root keys to make.")] = 1,
    root_threshold: Annotated[int, typer.Option(min=1, help="How many of them must sign.")] = 1,
    targets_keys: Annotated[int, typer.Option(min=1, help="How many keys may say who lists which model.")] = 1,
    targets_threshold: Annotated[int, typer.Option(min=1, help="How many of them must sign.")] = 1,
    passphrase_file: NewPassphraseOption = None,
) -> None:
    """Make an empty repository and its keys."""
    with exit_codes():
        from edge_agent.clock import SystemClock
        from exporter.repository.keys import ROOT_KEYS
        from exporter.repository.repository import init_repository
        from exporter.repository.roles import Quorum

        root = init_repository(
            repository,
            keys,
            clock=SystemClock(),
            root_keys_folder=root_keys_folder,
            root=Quorum(root_keys, root_threshold),
            targets=Quorum(targets_keys, targets_threshold),
            root_passphrase=None if passphrase_file is None else new_passphrase(passphrase_file),
        )
        typer.echo(f"made {repository}; give {root} to each device, and keep {keys} secret and backed up")
        typer.echo(f"carry {root_keys_folder or keys / ROOT_KEYS} away: only a new root or a rotated key needs it")


@app.command("up")
def up_command(
    repository: Repository,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port on loopback; 0 picks a free one.")] = 8081,
) -> None:
    """Serve the repository on loopback until Ctrl-C; anywhere else any static server will do."""
    with exit_codes():
        from exporter.repository.serving import serve

        serve(repository, port)


@app.command("refresh")
def refresh_command(repository: Repository, keys: Keys) -> None:
    """Sign what expires soon anew; run it daily."""
    with exit_codes():
        from edge_agent.clock import SystemClock
        from exporter.repository.refresh import refresh_timestamp

        refreshed = refresh_timestamp(repository, keys, clock=SystemClock())
        typer.echo(f"signed anew: {', '.join(refreshed.signed)}")
        for waiting in refreshed.waiting:
            typer.echo(f"warning: {waiting}", err=True)


@app.command("list")
def list_command(repository: Repository) -> None:
    """Print the bundles that devices may run."""
    with exit_codes():
        from exporter.repository.repository import list_bundles

        for ref in list_bundles(repository):
            typer.echo(str(ref))


@app.command("unlist")
def unlist_command(
    bundle: Annotated[str, typer.Argument(help="name/version")], repository: Repository, keys: Keys
) -> None:
    """Take a bundle off the list: no device accepts it any more."""
    with exit_codes():
        from edge_agent.clock import SystemClock
        from exporter.repository.repository import unlist_bundle

        unlist_bundle(_parse_ref(bundle), repository, keys, clock=SystemClock())
        typer.echo(f"unlisted {bundle}")


@app.command("export")
def export_command(
    bundle: Annotated[str, typer.Argument(help="name/version")],
    repository: Repository,
    out: Annotated[Path | None, typer.Option("--out", help="The file; by default NAME-VERSION.update here.")] = None,
    variant: Annotated[
        list[str] | None, typer.Option("--variant", help="Take only this variant along, repeatable; by default all.")
    ] = None,
) -> None:
    """Write a bundle and its signatures to one file, for devices that no network reaches: fieldloop-agent install."""
    with exit_codes():
        from exporter.repository.carrying import export_update

        carried = export_update(repository, _parse_ref(bundle), out, variant or ())
        typer.echo(
            f"wrote {carried.path}: {carried.size_bytes} bytes, {', '.join(carried.variants)}; its lists expire "
            f"{carried.expires:%Y-%m-%d %H:%M} UTC, and devices take it for `repository.carried_grace_days` longer"
        )


@app.command("delegate")
def delegate_command(
    model: Annotated[str, typer.Argument(help="Name of the model.")],
    repository: Repository,
    keys: Keys,
    model_keys: Annotated[int, typer.Option(min=1, help="How many keys may list its bundles.")] = 1,
    model_threshold: Annotated[int, typer.Option(min=1, help="How many of them must sign.")] = 1,
) -> None:
    """Make a model's role and keys; `fieldloop publish` does so, with one key, at a model's first bundle."""
    with exit_codes():
        from edge_agent.clock import SystemClock
        from exporter.repository.repository import delegate_model
        from exporter.repository.roles import Quorum

        quorum = Quorum(model_keys, model_threshold)
        role = delegate_model(model, repository, keys, quorum=quorum, clock=SystemClock())
        typer.echo(f"made {role}: {model_threshold} of {model_keys} keys list the bundles of {model}")


@app.command("rotate-key")
def rotate_command(
    role: Annotated[str, typer.Argument(help="root, targets, snapshot, timestamp, or model-NAME.")],
    repository: Repository,
    keys: Keys,
    root_keys_folder: RootKeys = None,
    key: Annotated[str | None, typer.Option(help="Name of the one key to replace; by default all of the role.")] = None,
    passphrase_file: PassphraseOption = None,
) -> None:
    """Replace the keys of a role by new ones; devices follow by themselves."""
    with exit_codes():
        from edge_agent.clock import SystemClock
        from exporter.repository.rotation import rotate_key

        rotation = rotate_key(
            role,
            repository,
            keys,
            root_keys_folder,
            only=key,
            clock=SystemClock(),
            passphrase=passphrase_of(passphrase_file),
        )
        typer.echo(f"{role} is now signed with {', '.join(rotation.made)}")
        for path in rotation.retired:
            typer.echo(f"worth nothing any more: {path}")


@app.command("status")
def status_command(
    repository: Repository,
    within_days: Annotated[
        float | None, typer.Option(min=0, help="What counts as soon; by default a quarter of a role's life.")
    ] = None,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print it as JSON.")] = False,
) -> None:
    """Print keys, signatures and expiry of each role; end with code 10 when one has expired or will soon."""
    with exit_codes():
        from edge_agent.clock import SystemClock
        from exporter.repository.status import read_status, status_json, status_table

        within = None if within_days is None else timedelta(days=within_days)
        roles = read_status(repository, clock=SystemClock(), within=within)
    if as_json:
        typer.echo(status_json(roles))
    else:
        from rich.console import Console

        Console().print(status_table(roles))
    if any(role.expires_soon for role in roles):
        raise typer.Exit(_EXPIRES_SOON)
