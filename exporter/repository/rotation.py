"""Replaces keys: of a model's role by the targets' signature, of every other role by a new root."""

from dataclasses import dataclass
from pathlib import Path

from edge_agent.clock import Clock
from exporter.errors import RepositoryError
from exporter.repository.keys import (
    KeyFolders,
    folders_of,
    is_called,
    make_keys,
    name_of,
    open_keyring,
    retire,
    root_folders_of,
)
from exporter.repository.lifetimes import DEFAULT_LIFETIMES, Lifetimes, moment
from exporter.repository.listing import load_listing, locked, renew_roles, write_listing
from exporter.repository.roles import ONLINE, TOP_LEVEL, role_keys, signers_of
from exporter.repository.root_changes import replacing
from exporter.repository.root_signing import renew_root
from exporter.repository.sealing import Passphrase, is_sealed


@dataclass(frozen=True, slots=True)
class Rotation:
    """What became of a role's keys.

    Attributes:
        made: names of the new ones.
        retired: where the old ones are now that were at hand.
    """

    made: tuple[str, ...]
    retired: tuple[Path, ...]


def rotate_key(
    role: str,
    repository: Path,
    keys: KeyFolders,
    root_keys: KeyFolders | None = None,
    *,
    only: str | None = None,
    clock: Clock,
    lifetimes: Lifetimes = DEFAULT_LIFETIMES,
    passphrase: Passphrase | None = None,
) -> Rotation:
    """Replace the keys of a role by as many new ones.

    Args:
        role: ``root``, ``targets``, ``snapshot``, ``timestamp``, or a model's, ``model-rain`` say.
        repository: its folder.
        keys: folders of its keys; new ones are made in the first.
        root_keys: folders of the root's keys; None: where `keys` are, or in ``root`` below.
        only: name of the one key to replace; None: all of the role.
        clock: tells what is a lifetime from now.
        lifetimes: how long metadata is believed.
        passphrase: of root keys that are encrypted; new ones beside them are then encrypted as well.

    Raises:
        RepositoryError: there is no such role, or the repository is not what its keys signed.
        KeysError: a key that must sign is missing.
    """
    folders = folders_of(keys)
    root_folders = root_folders_of(keys) if root_keys is None else folders_of(root_keys)
    if role not in TOP_LEVEL:
        return _rotate_model_key(role, repository, folders, only, clock, lifetimes)
    home = root_folders[-1] if role == "root" else folders[0]
    listing = load_listing(repository)
    root = listing.root.signed
    # Before a key is made for nothing.
    root_ring = open_keyring(root_folders, passphrase)
    signers_of(role_keys(root, "root"), root_ring)
    if role != "root":
        listing.signers_of(ONLINE[ONLINE.index(role) + 1 :], open_keyring(folders))
    sealed = [path for path in root_ring.paths.values() if role == "root" and is_sealed(path)]
    new = None if not sealed or passphrase is None else passphrase(sealed[0])
    changes = replacing(role, root, home, only, new)
    ring = open_keyring(dict.fromkeys((*folders, *root_folders)), passphrase)
    renew_root(repository, keys, root_folders, changes, clock=clock, lifetimes=lifetimes, passphrase=passphrase)
    return Rotation(tuple(map(name_of, changes.add[role])), retire(ring, changes.remove[role]))


def _rotate_model_key(
    role: str, repository: Path, folders: tuple[Path, ...], only: str | None, clock: Clock, lifetimes: Lifetimes
) -> Rotation:
    with locked(repository):
        listing = load_listing(repository)
        if role not in listing.models:
            known = ", ".join((*TOP_LEVEL, *listing.models))
            raise RepositoryError(f"{repository} has no role {role!r}; it has {known}")
        targets = listing.targets.signed
        before = open_keyring(folders)
        listing.signers_of(ONLINE, before)  # before a key is made for nothing
        keys = role_keys(targets, role).keys
        old = tuple(key_id for key_id, key in keys.items() if only is None or is_called(key, only))
        if not old:
            raise RepositoryError(f"{role} has no key {only!r}; it has {', '.join(map(name_of, keys.values()))}")
        made = make_keys(folders[0], role, len(old), beside_others=True)
        for signer in made:
            targets.add_key(signer.public_key, role)
        for key_id in old:
            targets.revoke_key(key_id, role)
        changed = (*ONLINE, role)
        signers = listing.signers_of(changed, open_keyring(folders))
        renew_roles(listing, changed, moment(clock), lifetimes)
        write_listing(repository, listing, signers)
    return Rotation(tuple(name_of(signer.public_key) for signer in made), retire(before, old))
