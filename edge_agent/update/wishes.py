"""What becomes of somebody's wish about the bundles of this device."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class WishAnswer:
    """Whether a wish is granted, and why not."""

    accepted: bool
    reason: str
