"""Reads certificates: who somebody is by the one that he shows, and until when one is good. Nothing is signed here."""

from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.x509.oid import NameOID

from broker.identity.names import Identity, IdentityError, parse_identity


@dataclass(frozen=True, slots=True)
class Presented:
    """A certificate that somebody showed, already verified against the root by TLS, but for its dates."""

    identity: Identity
    fleet: str
    serial: str
    fingerprint: str
    not_after_utc_s: float


def read_presented(der: bytes) -> Presented:
    """Read a client's certificate that TLS has verified.

    Raises:
        IdentityError: it carries no identity of a fleet.
    """
    certificate = x509.load_der_x509_certificate(der)
    fleet = _attribute(certificate.subject, NameOID.ORGANIZATION_NAME)
    unit = _attribute(certificate.subject, NameOID.ORGANIZATIONAL_UNIT_NAME)
    identity = parse_identity(_attribute(certificate.subject, NameOID.COMMON_NAME))
    if unit != identity.role.value:
        raise IdentityError(f"the certificate of {identity.name} says that it is for {unit!r}")
    return Presented(
        identity,
        fleet,
        f"{certificate.serial_number:032x}",
        certificate.fingerprint(hashes.SHA256()).hex(),
        certificate.not_valid_after_utc.timestamp(),
    )


def dates_of(pem: bytes) -> tuple[float, float]:
    """Return since when and until when the first certificate of a chain is good, UTC seconds.

    Raises:
        IdentityError: it is no certificate.
    """
    try:
        certificate = x509.load_pem_x509_certificate(pem)
    except ValueError as error:
        raise IdentityError("not a certificate in PEM") from error
    return certificate.not_valid_before_utc.timestamp(), certificate.not_valid_after_utc.timestamp()


def _attribute(name: x509.Name, oid: x509.ObjectIdentifier) -> str:
    values = name.get_attributes_for_oid(oid)
    if len(values) != 1:
        raise IdentityError(f"the certificate's subject is not one that we give: {name.rfc4514_string()[:200]}")
    return str(values[0].value)
