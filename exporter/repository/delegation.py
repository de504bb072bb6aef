"""Who lists which model's bundles: a role for each model, with keys of its own, which can list no other model's.

The role of model ``rain`` is ``model-rain`` (a model may be named ``root``), and it is trusted with ``rain/*/*``. What
a repository of old lists among its targets moves to the model's role when that is made; devices see both at once.
"""

import re
from collections.abc import Sequence
from typing import Final

from securesystemslib.signer import Key  # type: ignore[attr-defined] # documented there
from tuf.api.metadata import (  # type: ignore[attr-defined] # its documented names, which it does not re-export
    DelegatedRole,
    Delegations,
    Metadata,
    Targets,
)

from edge_agent.errors import BundleError
from exporter.errors import RepositoryError
from exporter.repository.listing import Listing

PREFIX: Final = "model-"
# What is safe as a folder of the repository, as a file's name in it, and as a pattern that matches itself alone.
_MODEL_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
# Signed beside the bundles: manifests of versions that are no longer listed, so that no other content takes their name.
_UNLISTED: Final = "x-fieldloop-unlisted"


def role_of(model: str) -> str:
    """Return the role that lists a model's bundles.

    Raises:
        BundleError: no model may be named so.
    """
    if _MODEL_NAME.fullmatch(model) is None:
        raise BundleError(f"{model!r} cannot be published: a model's name is of letters, digits, '.', '_' and '-'")
    return f"{PREFIX}{model}"


def is_delegated(listing: Listing, model: str) -> bool:
    """Tell whether a model has a role of its own."""
    return role_of(model) in listing.models


def list_of(listing: Listing, model: str) -> tuple[str, Targets]:
    """Return the role that lists a model's bundles now, and its list; of old that was ``targets``."""
    role = role_of(model)
    return (role, listing.models[role].signed) if role in listing.models else ("targets", listing.targets.signed)


def lists_in(listing: Listing) -> tuple[Targets, ...]:
    """Return every list of bundles."""
    return (listing.targets.signed, *(model.signed for model in listing.models.values()))


def delegate(listing: Listing, model: str, keys: Sequence[Key], threshold: int) -> str:
    """Trust keys with a model's bundles, of which so many must sign; return the role.

    Raises:
        RepositoryError: the model has its role already, or there are fewer keys than must sign.
    """
    role = role_of(model)
    if role in listing.models:
        raise RepositoryError(f"{model} has its role already; other keys: fieldloop repository rotate-key {role}")
    if not 1 <= threshold <= len(keys):
        raise RepositoryError(f"{threshold} of {len(keys)} keys cannot sign; take a threshold from 1 to {len(keys)}")
    targets = listing.targets.signed
    if targets.delegations is None:
        targets.delegations = Delegations({}, {})
    roles = targets.delegations.roles
    if roles is None:
        raise RepositoryError("the targets delegate by hash bins, not by model: not a repository of fieldloop's")
    roles[role] = DelegatedRole(role, [], threshold, terminating=True, paths=[f"{model}/*/*"])
    for key in keys:
        targets.add_key(key, role)
    bundles = Targets()
    bundles.version = 0  # it is renewed before it is written
    _move_bundles(targets, bundles, model)
    listing.models[role] = Metadata(bundles)
    return role


def unlisted_in(targets: Targets) -> dict[str, str]:
    """Return the manifests (hex SHA-256), by bundle, of versions that are no longer listed."""
    stored = targets.unrecognized_fields.get(_UNLISTED, {})
    return {str(ref): str(digest) for ref, digest in stored.items()}


def set_unlisted(targets: Targets, unlisted: dict[str, str]) -> None:
    """Replace what `unlisted_in` returns."""
    targets.unrecognized_fields[_UNLISTED] = unlisted


def _move_bundles(source: Targets, to: Targets, model: str) -> None:
    start = f"{model}/"
    to.targets = {path: target for path, target in source.targets.items() if path.startswith(start)}
    source.targets = {path: target for path, target in source.targets.items() if not path.startswith(start)}
    unlisted = unlisted_in(source)
    set_unlisted(to, {ref: digest for ref, digest in unlisted.items() if ref.startswith(start)})
    set_unlisted(source, {ref: digest for ref, digest in unlisted.items() if not ref.startswith(start)})
