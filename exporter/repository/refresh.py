"""Signs anew what is old: the timestamp always, every other role when less than half of its life is left.

What takes keys that are elsewhere waits for their owner, who is told in time: that is no reason not to sign the rest.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from edge_agent.clock import Clock
from exporter.errors import ForeignRootError, KeysError
from exporter.repository.keys import KeyFolders, open_keyring, root_folders_of
from exporter.repository.lifetimes import DEFAULT_LIFETIMES, Lifetimes, moment
from exporter.repository.listing import Listing, load_listing, locked, renew_roles, write_listing, write_root
from exporter.repository.roles import Signers, sign, verify_ours


@dataclass(frozen=True, slots=True)
class Waiting:
    """A role that is to be signed anew, by keys that are not at hand.

    Attributes:
        expires: from then on devices take no update any more.
        reason: which signatures are missing.
        command: what signs it where the keys are.
    """

    role: str
    expires: datetime
    reason: str
    command: str

    def __str__(self) -> str:
        """Tell it to people."""
        return f"{self.role} expires at {self.expires:%Y-%m-%d %H:%M} UTC: {self.reason}; run: {self.command}"


@dataclass(frozen=True, slots=True)
class Refreshed:
    """What was signed anew, and what waits for keys that are elsewhere."""

    signed: tuple[str, ...]
    waiting: tuple[Waiting, ...] = ()


def refresh_timestamp(
    repository: Path, keys: KeyFolders, *, clock: Clock, lifetimes: Lifetimes = DEFAULT_LIFETIMES
) -> Refreshed:
    """Sign the timestamp anew, and every other role of which less than half its life is left.

    Raises:
        RepositoryError: no repository, or one that its own keys did not sign.
        KeysError: the key of the timestamp or of the snapshot is missing, or not the repository's.
    """
    with locked(repository):
        listing = load_listing(repository)
        now = moment(clock)
        ring = open_keyring(root_folders_of(keys))
        signers: dict[str, Signers] = {}
        waiting: list[Waiting] = []
        for role in _old_roles(listing, ("root", "targets", *listing.models), now, lifetimes):
            try:
                signers |= listing.signers_of((role,), ring)
                if role == "root":
                    verify_ours(listing.root, signers[role])
            except (KeysError, ForeignRootError) as error:
                signers.pop(role, None)
                expires = listing.metadata_of(role).signed.expires
                waiting.append(Waiting(role, expires, str(error), _command(role, repository)))
        if set(signers) - {"root"} or _old_roles(listing, ("snapshot",), now, lifetimes):
            signers |= listing.signers_of(("snapshot",), ring)
        signers |= listing.signers_of(("timestamp",), ring)
        root_signers = signers.pop("root", None)
        if root_signers is not None:
            renew_roles(listing, ("root",), now, lifetimes)
            sign(listing.root, root_signers)
            write_root(repository, listing.root)
        renew_roles(listing, signers, now, lifetimes)
        write_listing(repository, listing, signers)
    due = ("root", *signers) if root_signers is not None else tuple(signers)
    return Refreshed(due, tuple(waiting))


def _old_roles(listing: Listing, roles: Iterable[str], now: datetime, lifetimes: Lifetimes) -> tuple[str, ...]:
    found = {role: listing.metadata_of(role).signed for role in roles}
    return tuple(role for role, part in found.items() if part.expires - now < lifetimes.of(part.type) / 2)


def _command(role: str, repository: Path) -> str:
    if role == "root":
        return f"fieldloop repository root renew --repository {repository} --keys KEYS --root-keys-folder FOLDER"
    return f"fieldloop repository refresh --repository {repository} --keys KEYS --keys FOLDER-OF-ITS-KEYS"
