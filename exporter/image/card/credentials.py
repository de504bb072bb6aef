"""Looks at keys and certificates before they are written to a card: a board that nobody reaches can not be mended."""

import ssl
import tempfile
from pathlib import Path

from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Metadata, Root  # type: ignore[attr-defined] # documented there

from exporter.image.errors import CardError


def verify_trusted_root(data: bytes) -> None:
    """Raise CardError where this is not the root of an update repository, signed by its own keys."""
    try:
        root = Metadata[Root].from_bytes(data)
        if not isinstance(root.signed, Root):
            raise CardError("repository.root: is not root.json, but another list of an update repository")
        root.signed.verify_delegate(Root.type, root.signed_bytes, root.signatures)
    except RepositoryError as error:
        raise CardError(f"repository.root: is not the root.json of an update repository: {error}") from error


def verify_authority(name: str, data: bytes) -> None:
    """Raise CardError where this is no certificate of an authority."""
    try:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(cadata=data.decode("ascii"))
    except (ssl.SSLError, ValueError) as error:
        raise CardError(f"{name}: no certificate in PEM: {error}") from error
    if not context.get_ca_certs():
        raise CardError(f"{name}: is not the certificate of an authority; give the fleet's ca.pem")


def verify_pair(certificate: bytes, key: bytes) -> None:
    """Raise CardError where a key is not that of a certificate, or asks for a passphrase."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    with tempfile.TemporaryDirectory() as folder:
        places = Path(folder) / "certificate", Path(folder) / "key"
        for place, data in zip(places, (certificate, key), strict=True):
            place.touch(0o600)
            place.write_bytes(data)
        try:
            context.load_cert_chain(*places, password=_no_passphrase)
        except (ssl.SSLError, ValueError) as error:
            raise CardError(f"broker.certificate and broker.key do not belong together: {error}") from error


def _no_passphrase() -> str:
    raise CardError("broker.key: is encrypted; nobody is at the board to type its passphrase")
