"""TLS of this fleet's own authority, right also on a device whose clock is wrong.

OpenSSL looks at the device's clock, which may be years off before anybody told it the time. Here the chain is verified
against the pinned authority without dates, and the dates of the peer's certificate are then compared with a time that
is passed in, before a byte of ours is sent. Nothing is given up but the dates of the authority's own certificates,
which are good for decades and sign nothing that outlives them.
"""

import ssl
from collections.abc import Callable

from broker.tls import open_tls

# OpenSSL's X509_V_FLAG_NO_CHECK_TIME, for which Python has no name.
_NO_CHECK_TIME = 0x200000


class NotInTimeError(ssl.SSLCertVerificationError):
    """A certificate is good but for its dates; an OSError, as all that a handshake raises."""


def open_pinned_tls(
    ca: str, certificate: str | None, key: str | None, utc_s: Callable[[], float] | None
) -> ssl.SSLContext:
    """Return how a server of the fleet is known, and this device by its own certificate; TLS 1.2 at least.

    Args:
        ca: file with the authority's certificate.
        certificate: file of this device; None: it shows none.
        key: file of its key; None: it stands in the certificate's file.
        utc_s: the time that certificates are compared with; None: not at all, which is for asking the time and for
            nothing else.

    Raises:
        LinkError: a file is missing, or is not what it should be.
    """
    context = open_tls(ca, certificate, key)
    context.verify_flags |= ssl.VerifyFlags(_NO_CHECK_TIME)
    if utc_s is not None:
        context.sslsocket_class = _checking(utc_s)
    return context


def verify_in_time(link: ssl.SSLSocket, now_s: float) -> None:
    """Compare the dates of the peer's certificate with a time.

    Raises:
        NotInTimeError: it is not good yet, or no more; or there is none.
    """
    told = link.getpeercert() or {}
    begins, ends = told.get("notBefore"), told.get("notAfter")
    if not isinstance(begins, str) or not isinstance(ends, str):
        raise NotInTimeError("the server showed no certificate")
    if now_s < ssl.cert_time_to_seconds(begins):
        raise NotInTimeError(f"the server's certificate is not good before {begins}")
    if now_s >= ssl.cert_time_to_seconds(ends):
        raise NotInTimeError(f"the server's certificate ended at {ends}")


def _checking(utc_s: Callable[[], float]) -> type[ssl.SSLSocket]:
    class CheckingSocket(ssl.SSLSocket):
        """Compares dates as soon as hands are shaken."""

        def do_handshake(self, block: bool = False) -> None:  # noqa: FBT001, FBT002 - the base class's
            super().do_handshake(block)
            verify_in_time(self, utc_s())

    return CheckingSocket
