"""The online intermediate at work: it signs devices, people, services and servers.

It decides what stands in a certificate; who may have one is decided elsewhere.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID

from broker.identity.fields import (
    BACKDATED,
    issuer_key,
    new_serial,
    parse_host,
    subject_of,
    usage_of,
    whole_second,
)
from broker.identity.keys import SigningRequest, fingerprint_of, make_key, private_pem
from broker.identity.names import Identity, IdentityError
from broker.topics import FleetId

SERVER_DAYS: Final = 397
DEVICE_DAYS: Final = 30.0
PERSON_DAYS: Final = 90.0
# The bound of X.509: a device id of 63 characters leaves no room for a generation.
MAX_NAME_CHARACTERS: Final = 64


@dataclass(frozen=True, slots=True)
class Issued:
    """A certificate that was signed.

    Attributes:
        chain: PEM, the certificate and the intermediate's.
        serial: 32 hex digits.
        fingerprint: SHA-256 of the certificate, hex.
        key: SHA-256 of the public key, hex.
        not_before_utc_s, not_after_utc_s: when it is good.
    """

    chain: bytes
    serial: str
    fingerprint: str
    key: str
    not_before_utc_s: float
    not_after_utc_s: float


class Issuer:
    """The online intermediate: signs devices, people, services and servers."""

    def __init__(self, key_pem: bytes, chain_pem: bytes, fleet: FleetId) -> None:
        """Take its key and certificate.

        Raises:
            IdentityError: they do not belong together.
        """
        try:
            key = serialization.load_pem_private_key(key_pem, password=None)
            certificate = x509.load_pem_x509_certificate(chain_pem)
        except (ValueError, TypeError) as error:
            raise IdentityError("the intermediate's key or certificate cannot be read") from error
        if not isinstance(key, ec.EllipticCurvePrivateKey) or key.public_key() != certificate.public_key():
            raise IdentityError("the intermediate's key and certificate do not belong together")
        self._key = key
        self._certificate = certificate
        self._fleet = fleet

    @property
    def not_after_utc_s(self) -> float:
        """When the intermediate ends, and with it everything that it signed."""
        return self._certificate.not_valid_after_utc.timestamp()

    def issue(self, request: SigningRequest, identity: Identity, now_s: float, days: float) -> Issued:
        """Sign a client's certificate.

        Args:
            request: whose key it is for.
            identity: the name that it gets.
            now_s: UTC seconds.
            days: how long it is good; never longer than the intermediate.

        Raises:
            IdentityError: the intermediate has ended, or the name is longer than X.509 allows.
        """
        if len(identity.name) > MAX_NAME_CHARACTERS:
            raise IdentityError(f"{identity.name}: a certificate holds names of {MAX_NAME_CHARACTERS} characters")
        subject = subject_of(identity.name, identity.role.value, self._fleet)
        return self._sign(request.public, subject, now_s, days, [ExtendedKeyUsageOID.CLIENT_AUTH], ())

    def issue_server(self, hosts: Sequence[str], now_s: float, days: float = SERVER_DAYS) -> tuple[bytes, Issued]:
        """Make a key and sign a certificate for broker and enrolment endpoint; return the key's PEM beside it.

        Args:
            hosts: names and addresses under which clients reach them.
            now_s: UTC seconds.
            days: how long it is good.

        Raises:
            IdentityError: a host is none, or the intermediate has ended.
        """
        if not hosts:
            raise IdentityError("a server needs a host name or address at which clients reach it")
        key = make_key()
        names = tuple(parse_host(host) for host in hosts)
        subject = subject_of(hosts[0][:64], "server", self._fleet)
        issued = self._sign(key.public_key(), subject, now_s, days, [ExtendedKeyUsageOID.SERVER_AUTH], names)
        return private_pem(key), issued

    def issue_node(
        self, name: str, hosts: Sequence[str], now_s: float, days: float = SERVER_DAYS
    ) -> tuple[bytes, Issued]:
        """Make a key and sign a certificate for a node of a cluster: a server, and a client of the other nodes.

        Its common name, ``node:<name>``, is that of no identity: as a client of a broker it may nothing.

        Args:
            name: of the node.
            hosts: names and addresses under which clients and nodes reach it.
            now_s: UTC seconds.
            days: how long it is good.

        Raises:
            IdentityError: a host is none, or the intermediate has ended.
        """
        key = make_key()
        subject = subject_of(f"node:{name}", "server", self._fleet)
        uses = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
        issued = self._sign(key.public_key(), subject, now_s, days, uses, tuple(parse_host(host) for host in hosts))
        return private_pem(key), issued

    def _sign(
        self,
        public: ec.EllipticCurvePublicKey,
        subject: x509.Name,
        now_s: float,
        days: float,
        uses: Sequence[x509.ObjectIdentifier],
        hosts: tuple[x509.GeneralName, ...],
    ) -> Issued:
        now = whole_second(now_s)
        ends = min(now + timedelta(days=days), self._certificate.not_valid_after_utc)
        if ends <= now:
            raise IdentityError("the intermediate has ended: fieldloop fleet intermediate signs a new one by the root")
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._certificate.subject)
            .public_key(public)
            .serial_number(new_serial())
            .not_valid_before(now - BACKDATED)
            .not_valid_after(ends)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(usage_of(signs_certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage(uses), critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
            .add_extension(issuer_key(self._certificate), critical=False)
        )
        if hosts:
            builder = builder.add_extension(x509.SubjectAlternativeName(hosts), critical=False)
        certificate = builder.sign(self._key, hashes.SHA256())
        pem = certificate.public_bytes(serialization.Encoding.PEM)
        return Issued(
            chain=pem + self._certificate.public_bytes(serialization.Encoding.PEM),
            serial=f"{certificate.serial_number:032x}",
            fingerprint=certificate.fingerprint(hashes.SHA256()).hex(),
            key=fingerprint_of(public),
            not_before_utc_s=certificate.not_valid_before_utc.timestamp(),
            not_after_utc_s=certificate.not_valid_after_utc.timestamp(),
        )
