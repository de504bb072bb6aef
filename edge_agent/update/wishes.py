"""What becomes of somebody's wish about the bundles of this device."""

from msgspec import Struct


class WishAnswer(Struct, frozen=True):
    """Whether a wish is granted, and why not."""

    accepted: bool
    reason: str
