"""Options that say who a command is to the broker, and how the broker is known."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from trainer.continuous.station import TlsFiles

CaOption = Annotated[Path | None, typer.Option("--ca", help="Certificate of the fleet's root: encrypts the link.")]
CertOption = Annotated[Path | None, typer.Option("--cert", help="Certificate by which the broker knows who this is.")]
KeyOption = Annotated[Path | None, typer.Option("--key", help="Key of that certificate.")]


def tls_files(ca: Path | None, cert: Path | None, key: Path | None) -> "TlsFiles | None":
    """Return the three files; None where none is given; raise BadParameter for a part of them."""
    from trainer.continuous.station import TlsFiles

    if ca is None and cert is None and key is None:
        return None
    if ca is None or cert is None or key is None:
        raise typer.BadParameter("--ca, --cert and --key belong together: give all three or none")
    return TlsFiles(ca, cert, key)


def giver_of_orders(files: "TlsFiles | None") -> str:
    """Return who gives orders by this command: the identity in the certificate, else the user of this machine.

    Raises:
        LinkError: the file is no certificate.
    """
    import getpass
    import ssl

    from broker.errors import LinkError
    from broker.identity.certificates import read_presented

    if files is None:
        return getpass.getuser()
    try:
        first, end, _ = files.certificate.read_text(encoding="ascii").partition("-----END CERTIFICATE-----")
        return read_presented(ssl.PEM_cert_to_DER_cert(first + end)).identity.name
    except (OSError, ValueError) as error:
        raise LinkError(f"{files.certificate} is no certificate: {error}") from error
