"""What the next root says: which keys come and go, for which roles, and how many must sign."""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from securesystemslib.signer import Key  # type: ignore[attr-defined] # documented there
from tuf.api.metadata import Metadata, Root  # type: ignore[attr-defined] # documented there

from edge_agent.clock import Clock
from exporter.errors import KeysError, RepositoryError
from exporter.repository.keys import is_called, make_keys, name_of
from exporter.repository.lifetimes import DEFAULT_LIFETIMES, Lifetimes, moment
from exporter.repository.listing import load_root, renew
from exporter.repository.roles import ONLINE, TOP_LEVEL, role_keys


@dataclass(frozen=True, slots=True)
class RootChanges:
    """What is to be different in the next root, by role.

    Attributes:
        add: keys that may sign from now on.
        remove: ids of keys that may not any more.
        thresholds: how many must sign.
    """

    add: Mapping[str, tuple[Key, ...]]
    remove: Mapping[str, tuple[str, ...]]
    thresholds: Mapping[str, int]


NO_CHANGES = RootChanges({}, {}, {})


def find_keys(root: Root, role: str, name: str) -> tuple[str, ...]:
    """Return the ids of a role's keys that are called by a name, or by the beginning of an id.

    Raises:
        KeysError: none is.
    """
    keys = role_keys(root, role).keys
    found = tuple(key_id for key_id, key in keys.items() if is_called(key, name))
    if not found:
        known = ", ".join(name_of(key) for key in keys.values())
        raise KeysError(f"{role} has no key {name!r}; it has {known}")
    return found


def root_changes(
    repository: Path,
    *,
    add: Sequence[Key] = (),
    remove: Sequence[str] = (),
    threshold: int | None = None,
    rotate: Sequence[str] = (),
    home: Path | None = None,
) -> RootChanges:
    """Return the changes that people ask for.

    Args:
        repository: its folder.
        add: further root keys.
        remove: names of root keys that may not sign any more.
        threshold: how many root keys must sign; None: as many as now.
        rotate: other roles that get new keys in place of the old.
        home: folder in which those are made.

    Raises:
        RepositoryError: a role is none that the root names.
        KeysError: a key that is to be removed is not there.
    """
    root = load_root(repository).signed
    changes = RootChanges(
        {"root": tuple(add)},
        {"root": tuple(key_id for name in remove for key_id in find_keys(root, "root", name))},
        {} if threshold is None else {"root": threshold},
    )
    for role in rotate:
        if role not in ONLINE or home is None:
            raise RepositoryError(f"the keys of {role!r} cannot be replaced so; this takes {', '.join(ONLINE)}")
        replaced = replacing(role, root, home)
        changes = RootChanges(
            {**changes.add, **replaced.add}, {**changes.remove, **replaced.remove}, changes.thresholds
        )
    return changes


def replacing(
    role: str, root: Root, home: Path, only: str | None = None, passphrase: bytes | None = None
) -> RootChanges:
    """Make new keys of a role in a folder; return the change of the root that has them take the place of the old."""
    old = tuple(root.roles[role].keyids) if only is None else find_keys(root, role, only)
    made = make_keys(home, role, len(old), beside_others=True, passphrase=passphrase)
    return RootChanges({role: tuple(signer.public_key for signer in made)}, {role: old}, {})


def describe_root(root: Metadata[Root]) -> tuple[str, ...]:
    """Return what a root says, in lines for those who are to sign it."""
    lines = [f"root {root.signed.version}, until {root.signed.expires:%Y-%m-%d %H:%M} UTC"]
    for role in TOP_LEVEL:
        keys = role_keys(root.signed, role)
        lines.append(f"  {role}: {keys.threshold} of {', '.join(map(name_of, keys.keys.values()))}")
    return tuple(lines)


def prepare_root(
    repository: Path, changes: RootChanges, *, clock: Clock, lifetimes: Lifetimes = DEFAULT_LIFETIMES
) -> Metadata[Root]:
    """Return the root's next version, not signed by anybody.

    Raises:
        RepositoryError: no repository, or a role would have fewer keys than must sign.
    """
    return change_root(load_root(repository), changes, clock, lifetimes)


def change_root(current: Metadata[Root], changes: RootChanges, clock: Clock, lifetimes: Lifetimes) -> Metadata[Root]:
    """Return what follows a root, not signed; raise RepositoryError when too few keys would be left to a role."""
    root = copy.deepcopy(current.signed)
    for role in TOP_LEVEL:
        for key in changes.add.get(role, ()):
            root.add_key(key, role)
        for key_id in changes.remove.get(role, ()):
            root.revoke_key(key_id, role)
        found = root.roles[role]
        found.threshold = changes.thresholds.get(role, found.threshold)
        if not 1 <= found.threshold <= len(found.keyids):
            raise RepositoryError(f"{role} would have {len(found.keyids)} keys, of which {found.threshold} must sign")
    renew(root, moment(clock), lifetimes)
    return Metadata(root)
