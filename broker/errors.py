"""Errors of the wire, split by what the caller can do about them."""


class BrokerError(Exception):
    """Base of every error of this package."""


class WireError(BrokerError):
    """What came from the wire is not what the contract says: refuse it, report it, go on."""


class LinkError(BrokerError):
    """The road is bad, not the message: try again later."""


class BrokerStartError(BrokerError):
    """A local broker could not be started: give up, and say how to mend it."""
