"""Tells where each role of an update repository stands: version, keys, signatures, and how long it will be believed."""

import json
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from rich.table import Table

from edge_agent.clock import Clock
from exporter.repository.keys import name_of
from exporter.repository.lifetimes import DEFAULT_LIFETIMES, Lifetimes, moment
from exporter.repository.listing import Listing, load_listing
from exporter.repository.roles import ONLINE

_DAY: Final = timedelta(days=1)
# What is left of its life when a role is told to expire soon, unless a bound is named: `refresh` signs at half of it.
SOON: Final = 0.25


@dataclass(frozen=True, slots=True)
class RoleStatus:
    """Where a role stands.

    Attributes:
        keys: names of those that may sign.
        threshold: how many of them must.
        signed_by: names of those that did.
        days_left: until it expires; negative when it has.
        expires_soon: within the bound that was asked for.
    """

    role: str
    version: int
    keys: tuple[str, ...]
    threshold: int
    signed_by: tuple[str, ...]
    expires: datetime
    days_left: float
    expires_soon: bool

    @property
    def has_expired(self) -> bool:
        """Whether devices believe it no more."""
        return self.days_left <= 0


def read_status(
    repository: Path,
    *,
    clock: Clock,
    within: timedelta | None = None,
    lifetimes: Lifetimes = DEFAULT_LIFETIMES,
) -> tuple[RoleStatus, ...]:
    """Return the status of each role: the root, the targets, each model, the snapshot, the timestamp.

    Args:
        repository: its folder.
        clock: tells what time it is.
        within: what counts as soon; None: a quarter of the role's life.
        lifetimes: how long metadata is believed.

    Raises:
        RepositoryError: no repository, or one that its own keys did not sign.
    """
    listing = load_listing(repository)
    roles = ("root", "targets", *listing.models, *ONLINE[1:])
    return tuple(_status_of(listing, role, moment(clock), within, lifetimes) for role in roles)


def status_json(roles: tuple[RoleStatus, ...]) -> str:
    """Return the status as JSON."""
    return json.dumps([asdict(role) | {"expires": role.expires.isoformat()} for role in roles], indent=1)


def status_table(roles: tuple[RoleStatus, ...]) -> Table:
    """Return the status as a table for people."""
    table = Table("role", "version", "keys", "signed by", "expires (UTC)", "days left")
    for role in roles:
        state = " expired" if role.has_expired else " soon" if role.expires_soon else ""
        keys = f"{role.threshold} of {', '.join(role.keys)}"
        expires = f"{role.expires:%Y-%m-%d %H:%M}"
        table.add_row(
            role.role, str(role.version), keys, ", ".join(role.signed_by), expires, f"{role.days_left:.1f}{state}"
        )
    return table


def _status_of(
    listing: Listing, role: str, now: datetime, within: timedelta | None, lifetimes: Lifetimes
) -> RoleStatus:
    metadata, keys = listing.metadata_of(role), listing.keys_of(role)
    left: timedelta = metadata.signed.expires - now
    bound = lifetimes.of(metadata.signed.type) * SOON if within is None else within
    return RoleStatus(
        role=role,
        version=metadata.signed.version,
        keys=tuple(name_of(key) for key in keys.keys.values()),
        threshold=keys.threshold,
        signed_by=tuple(name_of(key) for key in listing.signed_by(role)),
        expires=metadata.signed.expires,
        days_left=left / _DAY,
        expires_soon=left <= bound,
    )
