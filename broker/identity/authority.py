"""A fleet's certificate authority: an offline root, and the online intermediate that it signs.

The types of ``cryptography`` are used here and in `fields`, `keys`, `certificates` and `issuer`, and in no other
module.
"""

from datetime import timedelta
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from broker.identity.fields import BACKDATED, issuer_key, new_serial, subject_of, usage_of, whole_second
from broker.identity.keys import make_key, private_pem
from broker.identity.names import IdentityError
from broker.topics import FleetId

ROOT_DAYS: Final = 20 * 365
INTERMEDIATE_DAYS: Final = 5 * 365


def make_root(fleet: FleetId, now_s: float, passphrase: bytes) -> tuple[bytes, bytes]:
    """Make a root; return its key, encrypted, and its certificate, both PEM."""
    key = make_key()
    subject = subject_of(f"{fleet} root", "root", fleet)
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
    key = make_key()
    subject = subject_of(f"{fleet} intermediate", "intermediate", fleet)
    certificate = _authority(key.public_key(), subject, root, signer, now_s, INTERMEDIATE_DAYS)
    return private_pem(key), certificate.public_bytes(serialization.Encoding.PEM)


def _authority(
    public: ec.EllipticCurvePublicKey,
    subject: x509.Name,
    issuer: x509.Certificate | None,
    signer: ec.EllipticCurvePrivateKey,
    now_s: float,
    days: float,
) -> x509.Certificate:
    now = whole_second(now_s)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject if issuer is None else issuer.subject)
        .public_key(public)
        .serial_number(new_serial())
        .not_valid_before(now - BACKDATED)
        .not_valid_after(now + timedelta(days=days))
        # The intermediate signs no further authority.
        .add_extension(x509.BasicConstraints(ca=True, path_length=1 if issuer is None else 0), critical=True)
        .add_extension(usage_of(signs_certificates=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
    )
    if issuer is not None:
        builder = builder.add_extension(issuer_key(issuer), critical=False)
    return builder.sign(signer, hashes.SHA256())
