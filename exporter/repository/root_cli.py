"""The commands ``fieldloop repository root``: for a root whose keys lie elsewhere, or with several people."""

from pathlib import Path
from typing import Annotated

import typer

from exporter.failures import exit_codes
from exporter.repository.passphrases import NewPassphraseOption, PassphraseOption, new_passphrase, passphrase_of

app = typer.Typer(no_args_is_help=True, help="Renew or change the root; its keys may lie elsewhere.")

Repository = Annotated[Path, typer.Option("--repository", help="Folder of the update repository.")]
Keys = Annotated[list[Path], typer.Option("--keys", help="Folder of its signing keys; repeatable.")]
RootKeys = Annotated[list[Path], typer.Option("--root-keys-folder", help="Folder of root keys; repeatable.")]
Prepared = Annotated[Path, typer.Argument(help="File of the prepared root, which goes from hand to hand.")]


@app.command("new-key")
def new_key_command(
    name: Annotated[str, typer.Argument(help="Whose key it is.")],
    folder: Annotated[Path, typer.Option("--root-keys-folder", help="Where it is to lie.")],
    passphrase_file: NewPassphraseOption = None,
) -> None:
    """Make a root key where its owner is; only its public half leaves that place."""
    if not name.replace("-", "").replace("_", "").isalnum():
        raise typer.BadParameter(f"{name!r}: letters, digits, '-' and '_'")
    with exit_codes():
        from exporter.repository.keys import make_named_key

        passphrase = None if passphrase_file is None else new_passphrase(passphrase_file)
        typer.echo(f"made a key; hand over {make_named_key(folder, name, passphrase)}, and keep the other file")


@app.command("encrypt")
def encrypt_command(
    root_keys_folder: Annotated[Path, typer.Option("--root-keys-folder", help="Folder of root keys.")],
    passphrase_file: PassphraseOption = None,
) -> None:
    """Encrypt the root's keys of a folder that are not encrypted yet; nothing else changes."""
    with exit_codes():
        from exporter.repository.sealing import seal_keys

        sealed = seal_keys(root_keys_folder, new_passphrase(passphrase_file))
        for path in sealed:
            typer.echo(f"encrypted {path}; destroy other copies of it")
        if not sealed:
            typer.echo("all keys there are encrypted already")


@app.command("renew")
def renew_command(
    repository: Repository, keys: Keys, root_keys_folder: RootKeys, passphrase_file: PassphraseOption = None
) -> None:
    """Sign the root anew for a whole life, where enough of its keys are at hand."""
    with exit_codes():
        from edge_agent.clock import SystemClock
        from exporter.repository.root_signing import renew_root

        renew_root(repository, keys, root_keys_folder, clock=SystemClock(), passphrase=passphrase_of(passphrase_file))
        typer.echo("signed the root anew")


@app.command("prepare")
def prepare_command(
    prepared: Prepared,
    repository: Repository,
    keys: Annotated[list[Path] | None, typer.Option("--keys", help="Where new keys of --rotate are made.")] = None,
    add_key: Annotated[list[Path] | None, typer.Option(help="Public half of a further root key; repeatable.")] = None,
    remove_key: Annotated[list[str] | None, typer.Option(help="Name of a root key to drop; repeatable.")] = None,
    threshold: Annotated[int | None, typer.Option(min=1, help="How many root keys must sign.")] = None,
    rotate: Annotated[list[str] | None, typer.Option(help="targets, snapshot or timestamp; repeatable.")] = None,
) -> None:
    """Write the root's next version, unsigned, with the changes that are asked for."""
    if rotate and not keys:
        raise typer.BadParameter("--rotate makes new keys: say where with --keys")
    with exit_codes():
        from edge_agent.clock import SystemClock
        from exporter.repository.keys import load_public_key
        from exporter.repository.root_changes import prepare_root, root_changes
        from exporter.repository.root_signing import save_prepared

        changes = root_changes(
            repository,
            add=[load_public_key(path) for path in add_key or ()],
            remove=remove_key or (),
            threshold=threshold,
            rotate=rotate or (),
            home=keys[0] if keys else None,
        )
        root = prepare_root(repository, changes, clock=SystemClock())
        save_prepared(root, prepared)
        _tell(prepared)
        typer.echo(
            f"next: fieldloop repository root sign {prepared} --repository {repository} --root-keys-folder FOLDER"
        )


@app.command("sign")
def sign_command(
    prepared: Prepared, repository: Repository, root_keys_folder: RootKeys, passphrase_file: PassphraseOption = None
) -> None:
    """Add the signatures of the root keys in a folder; look first at what is printed."""
    with exit_codes():
        from exporter.repository.keys import open_keyring
        from exporter.repository.listing import load_root
        from exporter.repository.root_signing import load_prepared, save_prepared, sign_root

        _tell(prepared)
        root = load_prepared(prepared)
        ring = open_keyring(root_keys_folder, passphrase_of(passphrase_file))
        signatures = sign_root(root, load_root(repository), ring)
        save_prepared(root, prepared)
        typer.echo(f"signed by {', '.join(signatures.signed_by)}")
        if signatures.needed:
            typer.echo(f"{signatures.needed} more needed, of {', '.join(signatures.away)}")
        else:
            typer.echo(f"next: fieldloop repository root finish {prepared} --repository {repository} --keys KEYS")


@app.command("finish")
def finish_command(prepared: Prepared, repository: Repository, keys: Keys) -> None:
    """Make a root that all have signed the repository's newest."""
    with exit_codes():
        from edge_agent.clock import SystemClock
        from exporter.repository.root_signing import finish_root, load_prepared

        root = load_prepared(prepared)
        finish_root(root, repository, keys, clock=SystemClock())
        typer.echo(f"root {root.signed.version} is the newest; devices follow by themselves")


def _tell(prepared: Path) -> None:
    from exporter.repository.root_changes import describe_root
    from exporter.repository.root_signing import load_prepared

    for line in describe_root(load_prepared(prepared)):
        typer.echo(line)
