"""The root's next version: prepared where the repository is, signed where its keys are, finished when all have signed.

What passes from hand to hand is the next root itself, a file with the signatures so far. A new root takes signatures of
the old root's keys and of its own, by both thresholds; devices follow the chain ``N.root.json`` from the one they have.
"""

from dataclasses import dataclass
from pathlib import Path

from tuf.api.metadata import Metadata, Root  # type: ignore[attr-defined] # documented there

from edge_agent.clock import Clock
from edge_agent.durable import replace_file
from exporter.errors import KeysError, RepositoryError
from exporter.repository.keys import KeyFolders, Keyring, folders_of, name_of, open_keyring
from exporter.repository.lifetimes import DEFAULT_LIFETIMES, Lifetimes, moment
from exporter.repository.listing import (
    Listing,
    load_listing,
    locked,
    parse_metadata,
    renew_roles,
    show_listing,
    write_listing,
    write_root,
)
from exporter.repository.roles import ONLINE, RoleKeys, Signers, missing_signatures, role_keys, signers_of
from exporter.repository.root_changes import NO_CHANGES, RootChanges, change_root
from exporter.repository.sealing import Passphrase


@dataclass(frozen=True, slots=True)
class Signatures:
    """Who has signed a prepared root, and who still could; it is complete when `needed` is 0."""

    signed_by: tuple[str, ...]
    away: tuple[str, ...]
    needed: int


def save_prepared(root: Metadata[Root], path: Path) -> None:
    """Write a prepared root to a file."""
    replace_file(path, root.to_bytes())


def load_prepared(path: Path) -> Metadata[Root]:
    """Read a prepared root; raise RepositoryError when the file holds none."""
    return parse_metadata(path, Root)


def sign_root(prepared: Metadata[Root], current: Metadata[Root], ring: Keyring) -> Signatures:
    """Add the signatures of all keys at hand that count; return how far it is.

    Raises:
        KeysError: none of them counts.
        RepositoryError: it does not follow the current root.
    """
    _verify_follows(prepared, current)
    count = {**role_keys(current.signed, "root").keys, **role_keys(prepared.signed, "root").keys}
    signers = [ring.signers[key_id] for key_id in count if key_id in ring.signers]
    if not signers:
        places = ", ".join(str(folder) for folder in ring.folders)
        known = ", ".join(name_of(key) for key in count.values())
        raise KeysError("; ".join((f"no root key of this repository is in {places}; it has {known}", *ring.problems)))
    for signer in signers:
        prepared.sign(signer, append=True)
    return signatures_of(prepared, current)


def signatures_of(prepared: Metadata[Root], current: Metadata[Root]) -> Signatures:
    """Return how far the signing of a prepared root is; raise RepositoryError when it follows another one."""
    _verify_follows(prepared, current)
    result = prepared.signed.get_root_verification_result(current.signed, prepared.signed_bytes, prepared.signatures)
    needed = max(part.threshold - len(part.signed) for part in (result.first, result.second))
    signed, unsigned = (tuple(map(name_of, keys.values())) for keys in (result.signed, result.unsigned))
    return Signatures(signed, unsigned, max(needed, 0))


def finish_root(
    prepared: Metadata[Root],
    repository: Path,
    keys: KeyFolders,
    *,
    clock: Clock,
    lifetimes: Lifetimes = DEFAULT_LIFETIMES,
) -> tuple[str, ...]:
    """Make a signed root the repository's newest; return the ids of keys that are worth nothing now.

    What other roles sign is signed anew where their keys changed.

    Raises:
        MissingSignaturesError: it has not enough signatures, or a new key of another role is not at hand.
        RepositoryError: it does not follow the repository's root.
    """
    with locked(repository):
        listing = load_listing(repository)
        return _install(listing, prepared, repository, open_keyring(folders_of(keys)), clock, lifetimes)


def renew_root(
    repository: Path,
    keys: KeyFolders,
    root_keys: KeyFolders,
    changes: RootChanges = NO_CHANGES,
    *,
    clock: Clock,
    lifetimes: Lifetimes = DEFAULT_LIFETIMES,
    passphrase: Passphrase | None = None,
) -> tuple[str, ...]:
    """Prepare, sign and finish in one, where enough root keys are at hand; raise as those do."""
    with locked(repository):
        listing = load_listing(repository)
        prepared = change_root(listing.root, changes, clock, lifetimes)
        sign_root(prepared, listing.root, open_keyring(folders_of(root_keys), passphrase))
        return _install(listing, prepared, repository, open_keyring(folders_of(keys)), clock, lifetimes)


def _verify_follows(prepared: Metadata[Root], current: Metadata[Root]) -> None:
    expected = current.signed.version + 1
    if prepared.signed.version != expected:
        raise RepositoryError(
            f"root {prepared.signed.version} was prepared, {expected} is next: prepare it again from this repository"
        )


def _install(
    listing: Listing,
    prepared: Metadata[Root],
    repository: Path,
    ring: Keyring,
    clock: Clock,
    lifetimes: Lifetimes,
) -> tuple[str, ...]:
    before = listing.root.signed
    _verify_signed(prepared, listing.root, ring)
    changed = [role for role in ONLINE if _differ(before, prepared.signed, role)]
    signers: dict[str, Signers] = {}
    can_overlap = True
    if changed:
        # Each role that names a changed one is written anew as well, down to the timestamp.
        due = ONLINE[ONLINE.index(changed[0]) :]
        for role in due:
            signers[role] = signers_of(role_keys(prepared.signed, role), ring)
        for role in changed:
            old = role_keys(before, role)
            at_hand = tuple(ring.signers[key_id] for key_id in old.keys if key_id in ring.signers)
            can_overlap = can_overlap and len(at_hand) >= old.threshold
            known = {signer.public_key.keyid: signer for signer in (*signers[role], *at_hand)}
            signers[role] = tuple(known.values())
        renew_roles(listing, due, moment(clock), lifetimes)
    # What old and new keys have both signed is believed under the old root and under the new one, so that a cut between
    # the two changes nothing for devices. Only where the old keys are lost the root must be seen first.
    if signers:
        write_listing(repository, listing, signers, show=can_overlap)
    write_root(repository, prepared)
    if signers and not can_overlap:
        show_listing(repository)
    return tuple(key_id for key_id in before.keys if key_id not in prepared.signed.keys)


def _differ(before: Root, after: Root, role: str) -> bool:
    old, new = before.roles[role], after.roles[role]
    return (set(old.keyids), old.threshold) != (set(new.keyids), new.threshold)


def _verify_signed(prepared: Metadata[Root], current: Metadata[Root], ring: Keyring) -> None:
    _verify_follows(prepared, current)
    for delegator in (current.signed, prepared.signed):
        result = delegator.get_verification_result("root", prepared.signed_bytes, prepared.signatures)
        if not result:
            keys = RoleKeys("root", result.threshold, {**result.signed, **result.unsigned})
            away = tuple(map(name_of, result.unsigned.values()))
            raise missing_signatures(keys, len(result.signed), away, ring)
