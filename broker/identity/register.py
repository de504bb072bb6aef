"""The fleet's register: which identity holds, what was signed for it, which tokens are out, what was refused.

One SQLite file, which the enrolment endpoint and the commands use at the same time. It remembers, and it keeps what
must happen together together; whether something may happen is decided by `broker.enrolment` and the
registrar.
"""

import contextlib
import os
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import msgspec

from broker.identity.issuer import Issued
from broker.identity.names import Fleet, Identity, IdentityError, parse_identity
from broker.topics import FleetId

State = Literal["awaited", "active", "revoked", "rotated"]

_FORMAT: Final = 1
_BUSY_S: Final = 10.0
_SCHEMA: Final = """
CREATE TABLE identities (
    name TEXT PRIMARY KEY, role TEXT NOT NULL, owner TEXT NOT NULL, generation INTEGER NOT NULL,
    state TEXT NOT NULL, since_utc_s REAL NOT NULL, by TEXT NOT NULL, reason TEXT NOT NULL
) STRICT;
CREATE INDEX identities_by_owner ON identities (role, owner, generation);
CREATE TABLE certificates (
    serial TEXT PRIMARY KEY, name TEXT NOT NULL REFERENCES identities (name), fingerprint TEXT NOT NULL,
    key TEXT NOT NULL, chain BLOB NOT NULL, not_before_utc_s REAL NOT NULL, not_after_utc_s REAL NOT NULL,
    issued_utc_s REAL NOT NULL, by TEXT NOT NULL, superseded INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX certificates_by_name ON certificates (name, issued_utc_s);
CREATE TABLE tokens (
    digest TEXT PRIMARY KEY, name TEXT, uses INTEGER NOT NULL, used INTEGER NOT NULL DEFAULT 0,
    issued_utc_s REAL NOT NULL, expires_utc_s REAL NOT NULL, by TEXT NOT NULL, withdrawn INTEGER NOT NULL DEFAULT 0,
    refused INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE TABLE claims (
    digest TEXT NOT NULL REFERENCES tokens (digest), key TEXT NOT NULL, serial TEXT NOT NULL,
    PRIMARY KEY (digest, key)
) STRICT;
CREATE TABLE refusals (
    kind TEXT PRIMARY KEY, count INTEGER NOT NULL, last_utc_s REAL NOT NULL, last_address TEXT NOT NULL
) STRICT;
"""


class IdentityRow(msgspec.Struct, frozen=True, array_like=True):
    """One identity: since when it is what it is, who made it so, and why."""

    identity: Identity
    state: State
    since_utc_s: float
    by: str
    reason: str


class CertificateRow(msgspec.Struct, frozen=True, array_like=True):
    """One certificate that was signed.

    Attributes:
        superseded: a later one of the same identity was used since; this one renews nothing any more.
    """

    serial: str
    name: str
    fingerprint: str
    key: str
    chain: bytes
    not_before_utc_s: float
    not_after_utc_s: float
    issued_utc_s: float
    by: str
    superseded: bool


class TokenRow(msgspec.Struct, frozen=True, array_like=True):
    """One claim token, of which only the digest is known.

    Attributes:
        name: the one identity that it is for; None: any device that is not known yet.
        refused: how often it was shown in vain.
    """

    digest: str
    name: str | None
    uses: int
    used: int
    issued_utc_s: float
    expires_utc_s: float
    by: str
    withdrawn: bool
    refused: int


@dataclass(frozen=True, slots=True)
class Refusals:
    """How often something was refused at the endpoint."""

    kind: str
    count: int
    last_utc_s: float
    last_address: str


class Register:
    """The register of one fleet; one thread uses one of them. Close it."""

    def __init__(self, path: Path, fleet: FleetId) -> None:
        """Open a register, which `create_register` made.

        Raises:
            IdentityError: there is none, or it is of a later version.
        """
        if not path.is_file():
            raise IdentityError(f"{path}: no register there; is this a fleet's folder? fieldloop fleet init makes one")
        self._fleet = fleet
        self._path = path
        self._db = sqlite3.connect(path, timeout=_BUSY_S, isolation_level=None)
        with self._told():
            (version,) = self._db.execute("PRAGMA user_version").fetchone()
            self._db.execute("PRAGMA synchronous = FULL")
            self._db.execute("PRAGMA foreign_keys = ON")
        if version != _FORMAT:
            self._db.close()
            raise IdentityError(f"{path}: a register of format {version}; this program knows {_FORMAT}")

    def close(self) -> None:
        """Give the file back."""
        self._db.close()

    @contextlib.contextmanager
    def changing(self) -> Iterator[None]:
        """Have all that is read and written in the block happen at once, or not at all.

        Raises:
            IdentityError: the register cannot be written now.
        """
        with self._told():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")

    # --- identities --------------------------------------------------------------------------------------------------

    def view(self) -> Fleet:
        """Return what access rules are made of."""
        with self._told():
            rows = self._db.execute("SELECT name, state FROM identities ORDER BY name").fetchall()
        active = tuple(parse_identity(name) for name, state in rows if state == "active")
        return Fleet(self._fleet, active, tuple(name for name, state in rows if state in {"revoked", "rotated"}))

    def identities(self) -> tuple[IdentityRow, ...]:
        """Return all of them, by role, owner and generation."""
        with self._told():
            return tuple(map(_identity_row, self._db.execute(f"{_IDENTITIES} ORDER BY role, owner, generation")))

    def newest(self, identity: Identity) -> IdentityRow | None:
        """Return the latest generation of an identity's owner in its role, whatever its state."""
        found = self._one(
            f"{_IDENTITIES} WHERE role = ? AND owner = ? ORDER BY generation DESC LIMIT 1",
            identity.role.value,
            identity.owner,
        )
        return None if found is None else _identity_row(found)

    def find(self, name: str) -> IdentityRow | None:
        """Return the identity of a name."""
        found = self._one(f"{_IDENTITIES} WHERE name = ?", name)
        return None if found is None else _identity_row(found)

    def put_identity(self, row: IdentityRow) -> None:
        """Keep an identity, or what became of it."""
        identity = row.identity
        with self._told():
            self._db.execute(
                "INSERT INTO identities VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (name) DO UPDATE SET "
                "state = excluded.state, since_utc_s = excluded.since_utc_s, by = excluded.by, "
                "reason = excluded.reason",
                (
                    *(identity.name, identity.role.value, identity.owner, identity.generation),
                    *(row.state, row.since_utc_s, row.by, row.reason),
                ),
            )

    # --- certificates ------------------------------------------------------------------------------------------------

    def put_certificate(self, identity: Identity, issued: Issued, now_s: float, by: str) -> None:
        """Keep what was signed."""
        with self._told():
            self._db.execute(
                "INSERT INTO certificates VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, 0)",
                (
                    *(issued.serial, identity.name, issued.fingerprint, issued.key, issued.chain),
                    *(issued.not_before_utc_s, issued.not_after_utc_s, now_s, by),
                ),
            )

    def certificates(self, name: str) -> tuple[CertificateRow, ...]:
        """Return what was signed for a name, oldest first."""
        with self._told():
            rows = self._db.execute(f"{_CERTIFICATES} WHERE name = ? ORDER BY issued_utc_s, rowid", (name,)).fetchall()
        return tuple(map(_certificate_row, rows))

    def certificate(self, serial: str) -> CertificateRow | None:
        """Return the certificate of a serial number."""
        found = self._one(f"{_CERTIFICATES} WHERE serial = ?", serial)
        return None if found is None else _certificate_row(found)

    def supersede_before(self, certificate: CertificateRow) -> None:
        """Note that a certificate is in use: those that were signed before it renew nothing any more."""
        with self._told():
            self._db.execute(
                "UPDATE certificates SET superseded = 1 WHERE name = ? AND rowid < "
                "(SELECT rowid FROM certificates WHERE serial = ?)",
                (certificate.name, certificate.serial),
            )

    # --- tokens ------------------------------------------------------------------------------------------------------

    def put_token(self, row: TokenRow) -> None:
        """Keep a new token."""
        with self._told():
            self._db.execute(
                "INSERT INTO tokens VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    *(row.digest, row.name, row.uses, row.used, row.issued_utc_s, row.expires_utc_s),
                    *(row.by, int(row.withdrawn), row.refused),
                ),
            )

    def token(self, digest: str) -> TokenRow | None:
        """Return the token of a digest."""
        found = self._one("SELECT * FROM tokens WHERE digest = ?", digest)
        return None if found is None else _token_row(found)

    def tokens(self) -> tuple[TokenRow, ...]:
        """Return all tokens, oldest first."""
        with self._told():
            return tuple(map(_token_row, self._db.execute("SELECT * FROM tokens ORDER BY issued_utc_s, rowid")))

    def withdraw_tokens(self, name: str) -> None:
        """Have the tokens for one name serve no more."""
        with self._told():
            self._db.execute("UPDATE tokens SET withdrawn = 1 WHERE name = ?", (name,))

    def claim(self, digest: str, key: str, serial: str) -> None:
        """Use a token up by one, and remember by which key, so that the same device may ask again."""
        with self._told():
            self._db.execute("UPDATE tokens SET used = used + 1 WHERE digest = ?", (digest,))
            self._db.execute("INSERT INTO claims VALUES (?, ?, ?)", (digest, key, serial))

    def claimed_by(self, digest: str, key: str) -> CertificateRow | None:
        """Return what a key got for a token."""
        found = self._one(
            f"{_CERTIFICATES} JOIN claims USING (serial) WHERE claims.digest = ? AND claims.key = ?", digest, key
        )
        return None if found is None else _certificate_row(found)

    # --- refusals ----------------------------------------------------------------------------------------------------

    def count_refusal(self, kind: str, now_s: float, address: str, digest: str | None = None) -> None:
        """Count a refusal, and hold it against a token."""
        with self._told():
            self._db.execute(
                "INSERT INTO refusals VALUES (?, 1, ?, ?) ON CONFLICT (kind) DO UPDATE "
                "SET count = count + 1, last_utc_s = excluded.last_utc_s, last_address = excluded.last_address",
                (kind, now_s, address),
            )
            if digest is not None:
                self._db.execute("UPDATE tokens SET refused = refused + 1 WHERE digest = ?", (digest,))

    def refusals(self) -> tuple[Refusals, ...]:
        """Return what was refused how often, by kind."""
        with self._told():
            rows = self._db.execute("SELECT kind, count, last_utc_s, last_address FROM refusals ORDER BY kind")
            return tuple(Refusals(*row) for row in rows)

    # ------------------------------------------------------------------------------------------------------------------

    def _one(self, query: str, *values: str) -> tuple[object, ...] | None:
        with self._told():
            found: tuple[object, ...] | None = self._db.execute(query, values).fetchone()
        return found

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise IdentityError(f"{self._path}: {error}") from error


def create_register(path: Path) -> None:
    """Make an empty register, which only its owner may read.

    Raises:
        IdentityError: there is one already.
    """
    try:
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    except FileExistsError as error:
        raise IdentityError(f"{path} is there already and is not replaced; name another folder") from error
    db = sqlite3.connect(path)
    try:
        db.executescript(f"{_SCHEMA} PRAGMA user_version = {_FORMAT};")
    finally:
        db.close()


_IDENTITIES: Final = "SELECT name, state, since_utc_s, by, reason FROM identities"
_CERTIFICATES: Final = (
    "SELECT serial, name, fingerprint, certificates.key, chain, not_before_utc_s, not_after_utc_s, issued_utc_s, by, "
    "superseded FROM certificates"
)


def _identity_row(row: tuple[object, ...]) -> IdentityRow:
    name, *rest = row
    return msgspec.convert((parse_identity(str(name)), *rest), IdentityRow)


def _certificate_row(row: tuple[object, ...]) -> CertificateRow:
    # SQLite has no truth values: 0 and 1 are taken for them.
    return msgspec.convert(row, CertificateRow, strict=False)


def _token_row(row: tuple[object, ...]) -> TokenRow:
    return msgspec.convert(row, TokenRow, strict=False)
