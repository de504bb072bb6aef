"""The fleet's certificate authority: an offline root, an online intermediate, and what the intermediate signs.

It decides what stands in a certificate; who may have one is decided elsewhere. Keys are P-256, as small devices use it.
Of a request only the public key is taken: names, dates and uses are ours. The types of ``cryptography`` are used here
and in no other module.
"""

import ipaddress
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from broker.identity.names import Identity, IdentityError, parse_identity
from broker.topics import FleetId

ROOT_DAYS: Final = 20 * 365
INTERMEDIATE_DAYS: Final = 5 * 365
SERVER_DAYS: Final = 397
DEVICE_DAYS: Final = 30.0
PERSON_DAYS: Final = 90.0
# A request for one P-256 key has about 400 bytes.
MAX_REQUEST_BYTES: Final = 4096
# The bound of X.509: a device id of 63 characters leaves no room for a generation.
MAX_NAME_CHARACTERS: Final = 64
# Clocks of those who check may be behind ours by so much.
BACKDATED: Final = timedelta(hours=1)

_SERIAL_BITS: Final = 128
_CURVE: Final = ec.SECP256R1


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


@dataclass(frozen=True, slots=True)
class Presented:
    """A certificate that somebody showed, already verified against the root by TLS, but for its dates."""

    identity: Identity
    fleet: str
    serial: str
    fingerprint: str
    not_after_utc_s: float


class SigningRequest:
    """A request whose signature proves that its sender holds the key; nothing else in it is believed."""

    def __init__(self, pem: bytes) -> None:
        """Read it.

        Raises:
            IdentityError: too large, no request, another kind of key than P-256, or not signed by its key.
        """
        if len(pem) > MAX_REQUEST_BYTES:
            raise IdentityError(f"signing request of {len(pem)} bytes: at most {MAX_REQUEST_BYTES} are read")
        try:
            request = x509.load_pem_x509_csr(pem)
            public = request.public_key()
            is_signed = request.is_signature_valid
        except (ValueError, TypeError, InvalidSignature, x509.UnsupportedGeneralNameType) as error:
            raise IdentityError("not a signing request in PEM") from error
        if not isinstance(public, ec.EllipticCurvePublicKey) or not isinstance(public.curve, _CURVE):
            raise IdentityError("signing request: use a P-256 key (prime256v1)")
        if not is_signed:
            raise IdentityError("signing request: not signed by its own key")
        self._public = public

    @property
    def public(self) -> ec.EllipticCurvePublicKey:
        """The key that a certificate is asked for."""
        return self._public

    @property
    def key(self) -> str:
        """SHA-256 of the public key, hex."""
        return _key_fingerprint(self._public)


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
        subject = _name(identity.name, identity.role.value, self._fleet)
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
        key = ec.generate_private_key(_CURVE())
        names = tuple(_host(host) for host in hosts)
        subject = _name(hosts[0][:64], "server", self._fleet)
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
        key = ec.generate_private_key(_CURVE())
        subject = _name(f"node:{name}", "server", self._fleet)
        uses = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
        issued = self._sign(key.public_key(), subject, now_s, days, uses, tuple(_host(host) for host in hosts))
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
        now = _utc(now_s)
        ends = min(now + timedelta(days=days), self._certificate.not_valid_after_utc)
        if ends <= now:
            raise IdentityError("the intermediate has ended: fieldloop fleet intermediate signs a new one by the root")
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._certificate.subject)
            .public_key(public)
            .serial_number(_serial())
            .not_valid_before(now - BACKDATED)
            .not_valid_after(ends)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(signs_certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage(uses), critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
            .add_extension(_issuer_key(self._certificate), critical=False)
        )
        if hosts:
            builder = builder.add_extension(x509.SubjectAlternativeName(hosts), critical=False)
        certificate = builder.sign(self._key, hashes.SHA256())
        pem = certificate.public_bytes(serialization.Encoding.PEM)
        return Issued(
            chain=pem + self._certificate.public_bytes(serialization.Encoding.PEM),
            serial=f"{certificate.serial_number:032x}",
            fingerprint=certificate.fingerprint(hashes.SHA256()).hex(),
            key=_key_fingerprint(public),
            not_before_utc_s=certificate.not_valid_before_utc.timestamp(),
            not_after_utc_s=certificate.not_valid_after_utc.timestamp(),
        )


def make_root(fleet: FleetId, now_s: float, passphrase: bytes) -> tuple[bytes, bytes]:
    """Make a root; return its key, encrypted, and its certificate, both PEM."""
    key = ec.generate_private_key(_CURVE())
    subject = _name(f"{fleet} root", "root", fleet)
    certificate = _authority(key.public_key(), subject, None, key, now_s, ROOT_DAYS)
    sealed = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(passphrase),
    )
    return sealed, certificate.public_bytes(serialization.Encoding.PEM)


def make_intermediate(
    fleet: FleetId, root_key: bytes, root_pem: bytes, passphrase: bytes, now_s: float
) -> tuple[bytes, bytes]:
    """Make an intermediate signed by the root; return its key, which is not encrypted, and its certificate, both PEM.

    Raises:
        IdentityError: the passphrase is wrong, or key and certificate do not belong together.
    """
    try:
        signer = serialization.load_pem_private_key(root_key, password=passphrase)
        root = x509.load_pem_x509_certificate(root_pem)
    except (ValueError, TypeError) as error:
        raise IdentityError("the root's key does not open: is it the right passphrase, and the right file?") from error
    if not isinstance(signer, ec.EllipticCurvePrivateKey) or signer.public_key() != root.public_key():
        raise IdentityError("the root's key and certificate do not belong together")
    key = ec.generate_private_key(_CURVE())
    subject = _name(f"{fleet} intermediate", "intermediate", fleet)
    certificate = _authority(key.public_key(), subject, root, signer, now_s, INTERMEDIATE_DAYS)
    return private_pem(key), certificate.public_bytes(serialization.Encoding.PEM)


def make_request() -> tuple[bytes, SigningRequest]:
    """Make a key here, for a person or a service at this machine; return its PEM and a request for it."""
    key = ec.generate_private_key(_CURVE())
    request = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key, hashes.SHA256())
    return private_pem(key), SigningRequest(request.public_bytes(serialization.Encoding.PEM))


def private_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    """Return a private key that is not encrypted: write it for its owner's eyes only."""
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


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


def _authority(
    public: ec.EllipticCurvePublicKey,
    subject: x509.Name,
    issuer: x509.Certificate | None,
    signer: ec.EllipticCurvePrivateKey,
    now_s: float,
    days: float,
) -> x509.Certificate:
    now = _utc(now_s)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject if issuer is None else issuer.subject)
        .public_key(public)
        .serial_number(_serial())
        .not_valid_before(now - BACKDATED)
        .not_valid_after(now + timedelta(days=days))
        # The intermediate signs no further authority.
        .add_extension(x509.BasicConstraints(ca=True, path_length=1 if issuer is None else 0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
    )
    if issuer is not None:
        builder = builder.add_extension(_issuer_key(issuer), critical=False)
    return builder.sign(signer, hashes.SHA256())


def _name(common_name: str, unit: str, fleet: FleetId) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, fleet),
            x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, unit),
            x509.NameAttribute(NameOID.COMMON_NAME, common_name),
        ]
    )


def _attribute(name: x509.Name, oid: x509.ObjectIdentifier) -> str:
    values = name.get_attributes_for_oid(oid)
    if len(values) != 1:
        raise IdentityError(f"the certificate's subject is not one that we give: {name.rfc4514_string()[:200]}")
    return str(values[0].value)


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
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


def _issuer_key(issuer: x509.Certificate) -> x509.AuthorityKeyIdentifier:
    identifier = issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier)


def _host(text: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(text))
    except ValueError:
        pass
    try:
        return x509.DNSName(text)
    except (ValueError, TypeError) as error:
        raise IdentityError(f"{text!r} is no host name and no address") from error


def _serial() -> int:
    # The top bit makes it 128 bits long always, and a number that is not negative needs a byte more: 17, of 20 allowed.
    return secrets.randbits(_SERIAL_BITS) | 1 << (_SERIAL_BITS - 1)


def _key_fingerprint(public: ec.EllipticCurvePublicKey) -> str:
    der = public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    digest = hashes.Hash(hashes.SHA256())
    digest.update(der)
    return digest.finalize().hex()


def _utc(now_s: float) -> datetime:
    # Certificates count whole seconds.
    return datetime.fromtimestamp(int(now_s), UTC)
