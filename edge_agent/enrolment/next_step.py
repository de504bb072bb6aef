"""Decides what to do next about the device's certificate: a pure function of what is known."""

from typing import Final, Literal

from msgspec import Struct

from edge_agent.enrolment.identity_file import Held

Step = Literal["enrol", "renew", "time"]

# A link that is down for so long may be down because the clock is wrong.
LINK_PATIENCE_S: Final = 60.0
TIME_EVERY_S: Final = 3600.0


class Known(Struct, frozen=True):
    """What the decision rests on.

    Attributes:
        now_s: UTC as the agent knows it.
        is_time_sure: whether the server has told the time since the start, within the last hour.
        is_clock_behind: whether the device's clock is before a moment that has certainly passed.
        token: label of the claim token that lies there; None: there is none.
        held: the present identity.
        renews_at_s: when it is to be renewed.
        link_down_s: for how long there has been no link to the broker.
    """

    now_s: float
    is_time_sure: bool
    is_clock_behind: bool
    token: str | None
    held: Held | None
    renews_at_s: float
    link_down_s: float


def next_step(known: Known) -> Step | None:
    """Return what to do now; None: nothing.

    A token that was not used yet comes first: who put it there wants the device to enrol, also one that has an
    identity, because that may have been revoked.
    """
    if known.token is not None and (known.held is None or known.held.token != known.token):
        return "enrol"
    if known.held is None:
        return None
    if known.now_s >= known.renews_at_s:
        # A clock that is ahead makes every certificate look old.
        return "renew" if known.is_time_sure else "time"
    if not known.is_time_sure and (known.is_clock_behind or known.link_down_s >= LINK_PATIENCE_S):
        return "time"
    return None


def renewal_time_s(held: Held, share: float, chance: float) -> float:
    """Return when an identity is to be renewed.

    Args:
        held: it.
        share: of its life that passes before.
        chance: 0 to 1; a fleet that enrolled together must not renew together: up to a quarter of the rest later.
    """
    # Not from the beginning that the certificate names: that is set back for clocks that are behind.
    life_s = held.not_after_utc_s - held.at_utc_s
    return held.at_utc_s + life_s * (share + (1.0 - share) * 0.25 * chance)
