"""What a person does with identities: add, revoke, rotate, hand out claim tokens, sign for people and services.

Each of these is an order. It is written down after it was found to be possible and before it is done: what is refused
is not in the audit log as if it had happened, and what cannot be written down is not done.
"""

from collections.abc import Callable
from typing import Final, Protocol

from broker.identity.issuer import DEVICE_DAYS, PERSON_DAYS, Issued, Issuer
from broker.identity.keys import SigningRequest
from broker.identity.names import Identity, IdentityError, Role
from broker.identity.register import IdentityRow, Register, State, TokenRow
from broker.identity.tokens import ClaimToken, make_token
from broker.topics import FleetId

MAX_USES: Final = 100_000
_DAY_S: Final = 86_400.0


class WriteDown(Protocol):
    """Puts an order into the audit log, and raises when it cannot."""

    def __call__(self, what: str, identity: Identity | None, detail: str) -> None:
        """Write it down.

        Args:
            what: ``add``, ``token``, ``certificate``, ``rotate`` or ``revoke``.
            identity: whom it is about; None: devices that are not known yet.
            detail: for people.
        """


class Registrar:
    """Changes the register of one fleet in one person's name."""

    def __init__(
        self, register: Register, fleet: FleetId, by: str, utc_s: Callable[[], float], *, write_down: WriteDown
    ) -> None:
        """Join them.

        Args:
            register: of the fleet.
            fleet: its name.
            by: who does it; is kept.
            utc_s: the clock.
            write_down: where orders are written down before they are done.
        """
        self._register = register
        self._fleet = fleet
        self._by = by
        self._utc_s = utc_s
        self._write_down = write_down

    def add(self, identity: Identity) -> Identity:
        """Put down a new identity that waits for its first certificate.

        Raises:
            IdentityError: it is known already.
        """
        with self._register.changing():
            newest = self._register.newest(identity)
            if newest is not None:
                name, state = newest.identity.name, newest.state
                raise IdentityError(
                    f"{name} is known already and {state}; rotate gives it a new identity, and a new token"
                )
            self._write_down("add", identity, "added")
            self._put(identity, "awaited", "added")
        return identity

    def await_card(self, identity: Identity) -> Identity:
        """Return the identity that a new card is for: one that is put down now, or that has no certificate yet.

        The tokens that were made for it before hold no more: of two cards of one device, the later counts.

        Raises:
            IdentityError: it has its certificate, or had one.
        """
        with self._register.changing():
            newest = self._register.newest(identity)
            if newest is None:
                self._write_down("add", identity, "added")
                return self._put(identity, "awaited", "added").identity
            if newest.state != "awaited":
                raise IdentityError(
                    f"{newest.identity.name} is known already and {newest.state}; for a card in place of one that was "
                    f"lost: fieldloop device rotate {identity.name} --out FILE, and its token with --claim FILE"
                )
            self._register.withdraw_tokens(newest.identity.name)
            return newest.identity

    def rotate(self, identity: Identity, reason: str) -> Identity:
        """Have all certificates of an identity hold no more, and put down the one that takes over.

        Raises:
            IdentityError: it is not known.
        """
        with self._register.changing():
            old = self._newest(identity)
            self._write_down("rotate", old.identity, reason)
            if old.state != "revoked":
                self._end(old, "rotated", reason)
            new = old.identity.replaced()
            self._put(new, "awaited", f"takes over from {old.identity.name}")
        return new

    def let_back(self, identity: Identity) -> Identity:
        """Return the identity that a new certificate is for: after a revocation, one that takes over.

        Raises:
            IdentityError: it is not known.
        """
        if self._newest(identity).state == "revoked":
            return self.rotate(identity, "let back in")
        return self._newest(identity).identity

    def revoke(self, identity: Identity, reason: str) -> IdentityRow:
        """Have all certificates of an identity hold no more; return what it is now.

        Raises:
            IdentityError: it is not known, or revoked already.
        """
        with self._register.changing():
            old = self._newest(identity)
            if old.state == "revoked":
                raise IdentityError(f"{old.identity.name} is revoked already, by {old.by}: {old.reason}")
            self._write_down("revoke", old.identity, reason)
            return self._end(old, "revoked", reason)

    def make_token(self, expires_s: float, *, uses: int = 1, identity: Identity | None = None) -> ClaimToken:
        """Make a claim token; its text is shown this once.

        Args:
            expires_s: seconds from now.
            uses: how many devices may enrol with it, each once.
            identity: the one that it is for; None: any device that is not known yet.

        Raises:
            IdentityError: the numbers make no sense.
        """
        if expires_s <= 0 or not 1 <= uses <= MAX_USES:
            raise IdentityError(f"a token needs a time to live, and 1 to {MAX_USES} uses")
        now_s = self._utc_s()
        token = make_token(self._fleet, now_s)
        name = identity.name if identity is not None else None
        for_whom = "for any new device" if identity is None else f"for {identity.name}"
        times = "once" if uses == 1 else f"{uses} times"
        with self._register.changing():
            self._write_down("token", identity, f"{token.label} {for_whom}, {times}, good for {expires_s:g} s")
            self._register.put_token(
                TokenRow(token.digest, name, uses, 0, now_s, now_s + expires_s, self._by, withdrawn=False, refused=0)
            )
        return token

    def sign(self, issuer: Issuer, request: SigningRequest, identity: Identity, days: float | None = None) -> Issued:
        """Sign the first certificate of an identity that waits for one, or a new one of a person or a service.

        Raises:
            IdentityError: it is not known, revoked, or a device that has one and renews by itself.
        """
        lifetime = days if days is not None else DEVICE_DAYS if identity.role is Role.DEVICE else PERSON_DAYS
        with self._register.changing():
            row = self._newest(identity)
            if row.state == "active" and row.identity.role is Role.DEVICE:
                raise IdentityError(f"{row.identity.name} has its certificate and renews it; a lost key: rotate")
            if row.state not in {"awaited", "active"}:
                raise IdentityError(f"{row.identity.name} is {row.state}: rotate gives it a new identity")
            now_s = self._utc_s()
            issued = issuer.issue(request, row.identity, now_s, lifetime)
            self._write_down("certificate", row.identity, f"{issued.serial} for {lifetime:g} days")
            self._put(row.identity, "active", f"signed by {self._by}")
            self._register.withdraw_tokens(row.identity.name)
            self._register.put_certificate(row.identity, issued, now_s, self._by)
        return issued

    def _newest(self, identity: Identity) -> IdentityRow:
        row = self._register.newest(identity)
        if row is None:
            raise IdentityError(f"{identity.name} is not known in fleet {self._fleet}")
        return row

    def _end(self, row: IdentityRow, state: State, reason: str) -> IdentityRow:
        self._register.withdraw_tokens(row.identity.name)
        return self._put(row.identity, state, reason)

    def _put(self, identity: Identity, state: State, reason: str) -> IdentityRow:
        row = IdentityRow(identity, state, self._utc_s(), self._by, reason)
        self._register.put_identity(row)
        return row
