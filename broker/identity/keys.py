"""Keys, and requests for certificates of them. Keys are P-256, as small devices use it.

Of a request only the public key is taken: names, dates and uses are the authority's.
"""

from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from broker.identity.names import IdentityError

# A request for one P-256 key has about 400 bytes.
MAX_REQUEST_BYTES: Final = 4096

_CURVE: Final = ec.SECP256R1


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
        return fingerprint_of(self._public)


def make_request() -> tuple[bytes, SigningRequest]:
    """Make a key here, for a person or a service at this machine; return its PEM and a request for it."""
    key = make_key()
    request = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key, hashes.SHA256())
    return private_pem(key), SigningRequest(request.public_bytes(serialization.Encoding.PEM))


def make_key() -> ec.EllipticCurvePrivateKey:
    """Make a key."""
    return ec.generate_private_key(_CURVE())


def private_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    """Return a private key that is not encrypted: write it for its owner's eyes only."""
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def fingerprint_of(public: ec.EllipticCurvePublicKey) -> str:
    """Return SHA-256 of a public key, hex."""
    der = public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    digest = hashes.Hash(hashes.SHA256())
    digest.update(der)
    return digest.finalize().hex()
