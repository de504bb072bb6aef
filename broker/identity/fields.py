"""What stands in every certificate of a fleet: how its subject, uses, number, dates and hosts are written."""

import ipaddress
import re
import secrets
from datetime import UTC, datetime, timedelta
from typing import Final

from cryptography import x509
from cryptography.x509.oid import NameOID

from broker.identity.names import IdentityError
from broker.topics import FleetId

# Clocks of those who check may be behind ours by so much.
BACKDATED: Final = timedelta(hours=1)

_SERIAL_BITS: Final = 128
_MAX_HOST: Final = 253
# RFC 1123, and the underscore that some local networks have. A client compares it with what it connected to.
_HOST: Final = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(?<!-)(\.(?!-)[A-Za-z0-9_-]{1,63}(?<!-))*")
_NUMBERS: Final = re.compile(r"[0-9.]+")


def subject_of(common_name: str, unit: str, fleet: FleetId) -> x509.Name:
    """Return a subject: the fleet, the role, the name."""
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, fleet),
            x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, unit),
            x509.NameAttribute(NameOID.COMMON_NAME, common_name),
        ]
    )


def usage_of(*, signs_certificates: bool) -> x509.KeyUsage:
    """Return what a key may be used for: to sign certificates, or to say who somebody is."""
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def issuer_key(issuer: x509.Certificate) -> x509.AuthorityKeyIdentifier:
    """Return the name of the key that signs."""
    identifier = issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier)


def parse_host(text: str) -> x509.GeneralName:
    """Read a host name or an address.

    Raises:
        IdentityError: it is neither; no client could ever find the certificate good.
    """
    try:
        return x509.IPAddress(ipaddress.ip_address(text))
    except ValueError:
        pass
    if len(text) > _MAX_HOST or not _HOST.fullmatch(text) or _NUMBERS.fullmatch(text):
        raise IdentityError(f"{text!r} is no host name and no address: write broker.example or 10.0.0.5, no port")
    return x509.DNSName(text)


def new_serial() -> int:
    """Return a number that no other certificate has."""
    # The top bit makes it 128 bits long always, and a number that is not negative needs a byte more: 17, of 20 allowed.
    return secrets.randbits(_SERIAL_BITS) | 1 << (_SERIAL_BITS - 1)


def whole_second(now_s: float) -> datetime:
    """Return a time as certificates have it."""
    # Certificates count whole seconds.
    return datetime.fromtimestamp(int(now_s), UTC)
