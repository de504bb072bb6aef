"""Signs and lists what `publish_bundle` never would: what somebody does who has stolen keys."""

from collections.abc import Sequence
from pathlib import Path

from tuf.api.metadata import TargetFile  # type: ignore[attr-defined] # documented there

from edge_agent.clock import SystemClock
from exporter.repository.bundle_targets import write_targets
from exporter.repository.keys import open_keyring
from exporter.repository.lifetimes import DEFAULT_LIFETIMES, moment
from exporter.repository.listing import load_listing, renew_roles, write_listing


def list_file(
    repository: Path,
    keys: Path,
    path: str,
    data: bytes,
    *,
    role: str = "targets",
    custom: object = None,
    signing: Sequence[str] = ("snapshot", "timestamp"),
) -> None:
    """List a file by the signature of a role, and of the roles that must name its new list.

    Args:
        repository: its folder.
        keys: folder of keys; a stolen role's is among them.
        path: of the target.
        data: its content.
        role: that is to list it.
        custom: what is said beside it.
        signing: the other roles that sign.
    """
    listing = load_listing(repository)
    changed = (role, *signing)
    signers = listing.signers_of(changed, open_keyring([keys]))
    target = TargetFile.from_data(path, data, ["sha256"])
    if custom is not None:
        target.unrecognized_fields["custom"] = custom
    metadata = listing.targets if role == "targets" else listing.models[role]
    metadata.signed.targets[path] = target
    write_targets(repository, [(target, data)])
    renew_roles(listing, changed, moment(SystemClock()), DEFAULT_LIFETIMES)
    write_listing(repository, listing, signers)


def only_whole(folder: Path, name: str) -> Path:
    """Remove the smaller forms of a served file, so that devices fetch the file itself; return its path."""
    for path in folder.glob(f"*.{name}.*zst"):
        path.unlink()
    return next(folder.glob(f"*.{name}"))
