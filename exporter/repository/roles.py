"""Which keys speak for a role and how many of them it takes; signs with those at hand, or names those that are away."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from securesystemslib.signer import CryptoSigner, Key  # type: ignore[attr-defined] # documented there
from tuf.api.metadata import Metadata, Root, Targets  # type: ignore[attr-defined] # documented there

from exporter.errors import ForeignRootError, MissingSignaturesError, RepositoryError
from exporter.repository.keys import Keyring, name_of

ONLINE: Final = ("targets", "snapshot", "timestamp")
TOP_LEVEL: Final = ("root", *ONLINE)

Signers = tuple[CryptoSigner, ...]


@dataclass(frozen=True, slots=True)
class Quorum:
    """So many keys of a role are made, and so many of them must sign."""

    keys: int = 1
    threshold: int = 1

    def verify(self, role: str) -> None:
        """Raise RepositoryError when so many keys cannot sign."""
        if not 1 <= self.threshold <= self.keys:
            raise RepositoryError(
                f"{role}: {self.threshold} of {self.keys} keys cannot sign; take a threshold from 1 to {self.keys}"
            )


ONE_KEY: Final = Quorum()


@dataclass(frozen=True, slots=True)
class RoleKeys:
    """The keys of a role, by id, and how many of them must sign."""

    role: str
    threshold: int
    keys: Mapping[str, Key]


def role_keys(delegator: Root | Targets, role: str) -> RoleKeys:
    """Return the keys of a role from the metadata that delegates to it."""
    found = delegator.get_delegated_role(role)
    return RoleKeys(role, found.threshold, {key_id: delegator.get_key(key_id) for key_id in found.keyids})


def signers_of(role: RoleKeys, ring: Keyring) -> Signers:
    """Return every key at hand that speaks for a role.

    Raises:
        MissingSignaturesError: they are fewer than the role's threshold.
    """
    found = tuple(ring.signers[key_id] for key_id in role.keys if key_id in ring.signers)
    if len(found) < role.threshold:
        away = tuple(name_of(key) for key_id, key in role.keys.items() if key_id not in ring.signers)
        raise missing_signatures(role, len(found), away, ring)
    return found


def missing_signatures(role: RoleKeys, n_signed: int, away: tuple[str, ...], ring: Keyring) -> MissingSignaturesError:
    """Return the error that says which signatures a role lacks."""
    needed = role.threshold - n_signed
    places = ", ".join(str(folder) for folder in ring.folders)
    told = (
        f"{role.role}: {n_signed} of {role.threshold} signatures can be made with the keys in {places}, "
        f"{needed} more needed; not the {role.role} key of this repository, or away: {', '.join(away)}"
    )
    return MissingSignaturesError("; ".join((told, *ring.problems)), role=role.role, missing=away, needed=needed)


def sign(metadata: Metadata[Any], signers: Iterable[CryptoSigner]) -> None:
    """Replace the signatures of metadata."""
    metadata.signatures.clear()
    for signer in signers:
        metadata.sign(signer, append=True)


def verify_ours(root: Metadata[Root], signers: Iterable[CryptoSigner]) -> None:
    """Raise ForeignRootError when none of some keys has signed a root: they do not sign what follows it unasked.

    Who can write to the repository's folder could put a root there that names our keys and theirs.
    """
    ours = {signer.public_key.keyid for signer in signers}
    signed = root.signed.get_verification_result("root", root.signed_bytes, root.signatures).signed
    if not ours & set(signed):
        raise ForeignRootError(
            f"root {root.signed.version} was not signed by any of these root keys: compare it with the one on your "
            "devices before you sign what follows it"
        )
