"""How a broker is known by TLS, and who we are to it."""

import os
import ssl
from pathlib import Path

from broker.errors import LinkError


def open_tls(ca: str | Path | None, certificate: str | Path | None, key: str | Path | None) -> ssl.SSLContext:
    """Return how a broker is known by a CA's certificate, and we by ours; TLS 1.2 at least.

    Args:
        ca: file with the authority's certificate; None: whoever the system trusts.
        certificate: file of ours; None: we show none.
        key: file of its key; None: it stands in the certificate's file.

    Raises:
        LinkError: a file is missing, or is not what it should be.
    """
    if certificate is None and key is not None:
        raise LinkError(f"TLS with the key {key}: its certificate belongs to it, and was not named")
    # OpenSSL does not say which of its files it misses.
    for file in (ca, certificate, key):
        if file is not None and not os.access(file, os.R_OK):
            raise LinkError(f"TLS: {file} cannot be read; see that it is there, and may be read by this user")
    try:
        # Of this CA alone: the system's list would cost a megabyte, and trust strangers.
        context = ssl.create_default_context(cafile=ca)
        if certificate is not None:
            context.load_cert_chain(certificate, key)
    except (OSError, ValueError) as error:
        raise LinkError(f"TLS with {ca}, {certificate}, {key}: {error}") from error
    return context
