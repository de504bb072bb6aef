"""Refuses every interface but loopback to a broker that cannot tell clients apart. Pure."""

import ipaddress

from broker.errors import BrokerStartError


def verify_loopback(host: str) -> None:
    """Raise BrokerStartError unless ``host`` is an address that only this machine reaches."""
    try:
        is_loopback = ipaddress.ip_address(host).is_loopback
    except ValueError:
        is_loopback = False
    if not is_loopback:
        raise BrokerStartError(
            f"a broker without identities listens on loopback only, not on {host!r}: it cannot tell clients apart. "
            "Use 127.0.0.1; or, for other machines, a fleet: `fieldloop fleet init`, `fieldloop broker up --fleet`"
        )
