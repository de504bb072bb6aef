"""A fleet's folder: which file of it is what, and how it is made.

``offline/`` holds what vouches for all else, encrypted: the root's key, and that of the update repository beside it. It
is carried away; nothing but a new intermediate, or a new root of the repository, needs it. All other files stay at the
server.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec

from broker.identity.authority import make_intermediate, make_root
from broker.identity.files import make_private_folder, read_secret, write_file
from broker.identity.issuer import Issuer
from broker.identity.names import IdentityError
from broker.identity.register import Register, create_register
from broker.topics import FleetId, TopicError, parse_fleet

MIN_PASSPHRASE_BYTES: Final = 12
_FORMAT: Final = 1
_MAX_BYTES: Final = 64 << 10
_KEY_SUFFIXES: Final = (".key", ".pem")
_SEALED: Final = b"-----BEGIN ENCRYPTED PRIVATE KEY-----"


def _write_nothing_down(detail: str) -> None:
    """For a fleet whose folder is just made, and for callers that keep no log."""


class FleetFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What ``fleet.json`` says.

    Attributes:
        fleet: its name, as in topics.
        hosts: names and addresses of the server, as clients reach it; the first one is told to devices.
        broker_port, enrolment_port: where it listens.
        format: version of the folder's layout.
    """

    fleet: str
    hosts: tuple[str, ...]
    broker_port: int
    enrolment_port: int
    format: int = _FORMAT


class FleetFolder:
    """The folder of one fleet."""

    def __init__(self, folder: Path) -> None:
        """Read what fleet it is.

        Raises:
            IdentityError: it is no fleet's folder.
        """
        self.path = folder
        file = folder / "fleet.json"
        try:
            about = msgspec.json.decode(file.read_bytes()[:_MAX_BYTES], type=FleetFile)
            self._fleet = parse_fleet(about.fleet)
        except OSError as error:
            raise IdentityError(f"{file} cannot be read: {error.strerror}; fieldloop fleet init makes one") from error
        except (msgspec.MsgspecError, UnicodeDecodeError, TopicError) as error:
            raise IdentityError(f"{file} is not what fieldloop fleet init writes: {error}") from error
        if about.format != _FORMAT:
            raise IdentityError(f"{file}: a folder of format {about.format}; this program knows {_FORMAT}")
        self.about = about

    @property
    def fleet(self) -> FleetId:
        """The fleet's name."""
        return self._fleet

    @property
    def ca(self) -> Path:
        """The root's certificate: what every device and server is to know of the fleet. Public."""
        return self.path / "ca.pem"

    @property
    def offline(self) -> Path:
        """What is to be carried away."""
        return self.path / "offline"

    @property
    def root_key(self) -> Path:
        """The root's key, encrypted."""
        return self.offline / "ca.key"

    def unsealed_keys(self) -> tuple[Path, ...]:
        """Return the keys among what is to be carried away that anybody could use who finds them."""
        keys = sorted(path for path in self.offline.rglob("*") if path.suffix in _KEY_SUFFIXES and path.is_file())
        return tuple(key for key in keys if _SEALED not in read_secret(key))

    @property
    def intermediate_key(self) -> Path:
        """The key that signs from day to day."""
        return self.path / "intermediate.key"

    @property
    def intermediate(self) -> Path:
        """The certificate of that key."""
        return self.path / "intermediate.pem"

    @property
    def server_key(self) -> Path:
        """The key of broker and enrolment endpoint."""
        return self.path / "server.key"

    @property
    def server_chain(self) -> Path:
        """Their certificate, and the intermediate's."""
        return self.path / "server.pem"

    def open_register(self) -> Register:
        """Open the register; close it.

        Raises:
            IdentityError: it cannot be opened.
        """
        return Register(self.path / "register.db", self._fleet)

    def open_issuer(self) -> Issuer:
        """Return what signs.

        Raises:
            IdentityError: the intermediate's key is not there, readable for others, or another one's.
        """
        key = read_secret(self.intermediate_key)
        try:
            chain = self.intermediate.read_bytes()
        except OSError as error:
            raise IdentityError(f"{self.intermediate} cannot be read: {error.strerror}") from error
        return Issuer(key, chain, self._fleet)

    def renew_server(
        self, hosts: tuple[str, ...], now_s: float, write_down: Callable[[str], None] = _write_nothing_down
    ) -> float:
        """Give the server a new key and certificate; return until when it is good.

        Args:
            hosts: names and addresses of the server.
            now_s: UTC seconds.
            write_down: is told what is done, before the files are written.

        Raises:
            IdentityError: a host is none, or there is nothing to sign with.
        """
        key, issued = self.open_issuer().issue_server(hosts, now_s)
        write_down(f"for {', '.join(hosts)}: {issued.serial}")
        # A cut between the two leaves a pair that does not fit, which every server refuses at its start.
        write_file(self.server_key, key, is_secret=True, replaces=True)
        write_file(self.server_chain, issued.chain, is_secret=False, replaces=True)
        return issued.not_after_utc_s

    def renew_intermediate(
        self,
        root_key: Path,
        passphrase: bytes,
        now_s: float,
        write_down: Callable[[str], None] = _write_nothing_down,
    ) -> None:
        """Sign a new intermediate by the root; what the old one signed stays good until it ends.

        Args:
            root_key: where the root's key is now.
            passphrase: opens it.
            now_s: UTC seconds.
            write_down: is told what is done, before the files are written.

        Raises:
            IdentityError: it does not open, or is not this fleet's.
        """
        sealed, root = read_secret(root_key), self.ca.read_bytes()
        key, certificate = make_intermediate(self._fleet, sealed, root, passphrase, now_s)
        write_down("signed anew by the root")
        write_file(self.intermediate_key, key, is_secret=True, replaces=True)
        write_file(self.intermediate, certificate, is_secret=False, replaces=True)


def init_fleet(folder: Path, about: FleetFile, passphrase: bytes, now_s: float) -> FleetFolder:
    """Make a fleet's folder: root, intermediate, server certificate, empty register.

    Args:
        folder: is made; nothing that is in it is replaced.
        about: the fleet.
        passphrase: encrypts the root's key.
        now_s: UTC seconds.

    Raises:
        IdentityError: there is a fleet already, the passphrase is too short, or a name cannot be one.
    """
    try:
        fleet = parse_fleet(about.fleet)
    except TopicError as error:
        raise IdentityError(str(error)) from error
    if len(passphrase) < MIN_PASSPHRASE_BYTES:
        raise IdentityError(f"the passphrase is shorter than {MIN_PASSPHRASE_BYTES} bytes: it guards the whole fleet")
    if any((folder / name).exists() for name in ("fleet.json", "ca.pem", "offline")):
        raise IdentityError(f"{folder} holds a fleet already, or the rest of one; name another folder")
    # All of it is made before anything is written: what cannot be made leaves no half of a fleet.
    sealed, root = make_root(fleet, now_s, passphrase)
    key, intermediate = make_intermediate(fleet, sealed, root, passphrase, now_s)
    server_key, server = Issuer(key, intermediate, fleet).issue_server(about.hosts, now_s)
    make_private_folder(folder)
    make_private_folder(folder / "offline")
    write_file(folder / "offline" / "ca.key", sealed, is_secret=True)
    write_file(folder / "ca.pem", root, is_secret=False)
    write_file(folder / "intermediate.key", key, is_secret=True)
    write_file(folder / "intermediate.pem", intermediate, is_secret=False)
    write_file(folder / "server.key", server_key, is_secret=True)
    write_file(folder / "server.pem", server.chain, is_secret=False)
    create_register(folder / "register.db")
    # The order matters: it comes last, so that a folder that was not finished is none.
    write_file(folder / "fleet.json", msgspec.json.format(msgspec.json.encode(about)), is_secret=False)
    return FleetFolder(folder)
