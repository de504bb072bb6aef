"""Decides who gets a certificate at the enrolment endpoint: by a claim token once, by the present certificate then.

The checks stand in the order in which they may be told: an address that was wrong too often hears nothing else. What a
request asks for is never believed: its name is compared, its key is taken, the rest is ours. The answer may be lost on
its way, so the same key that shows the same token again gets the same certificate again.
"""

import logging
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from broker.enrolment.limits import Limits
from broker.identity.certificates import read_presented
from broker.identity.issuer import DEVICE_DAYS, Issuer
from broker.identity.keys import SigningRequest
from broker.identity.names import Identity, IdentityError, Role
from broker.identity.register import CertificateRow, IdentityRow, Register, TokenRow
from broker.identity.tokens import ClaimToken, parse_token
from broker.topics import FleetId, TopicError, parse_device

logger = logging.getLogger(__name__)

# So often a token may be shown in vain; then it is locked, because it is in wrong hands, or on a card that is.
MAX_REFUSED_PER_TOKEN: Final = 20
GRACE_DAYS: Final = 90.0
_DAY_S: Final = 86_400.0
_BY: Final = "enrolment"
_PRINTABLE: Final = re.compile(r"[^ -~]")


class RefusedError(IdentityError):
    """A request is refused.

    Attributes:
        kind: by which rule; is counted.
        status: of HTTP.
        is_final: asking again with the same things is of no use.
    """

    def __init__(self, kind: str, status: int, message: str, *, is_final: bool = True) -> None:
        """Keep the rule beside the message."""
        super().__init__(message)
        self.kind = kind
        self.status = status
        self.is_final = is_final


@dataclass(frozen=True, slots=True)
class Granted:
    """What a device gets.

    Attributes:
        device: its id, as it is known from now on.
        chain: PEM.
        not_before_utc_s, not_after_utc_s: when the certificate is good.
    """

    device: str
    chain: bytes
    not_before_utc_s: float
    not_after_utc_s: float


@dataclass(frozen=True, slots=True)
class EnrolmentRules:
    """How long certificates are good, and after their end may still be renewed, in days."""

    device_days: float = DEVICE_DAYS
    grace_days: float = GRACE_DAYS


class Enrolment:
    """The endpoint's decisions for one fleet; one thread uses one of them, all of them share their limits."""

    def __init__(
        self,
        register: Register,
        issuer: Issuer,
        fleet: FleetId,
        limits: Limits,
        *,
        rules: EnrolmentRules,
        utc_s: Callable[[], float],
        monotonic_s: Callable[[], float],
    ) -> None:
        """Join them.

        Args:
            register: what is known, and is changed.
            issuer: signs.
            fleet: whose tokens and certificates are taken.
            limits: of addresses.
            rules: how long certificates are good.
            utc_s: for dates.
            monotonic_s: for budgets.
        """
        self._register = register
        self._issuer = issuer
        self._fleet = fleet
        self._limits = limits
        self._rules = rules
        self._utc_s = utc_s
        self._monotonic_s = monotonic_s

    def enrol(self, token_text: str, csr: bytes, device: str, address: str) -> Granted:
        """Give a device its first certificate for a claim token.

        Raises:
            RefusedError: it gets none; this is counted.
            IdentityError: the register cannot be written now.
        """
        self._let_in(address)
        token: ClaimToken | None = None
        try:
            token = _parse(token_text)
            request, name = _request(csr), _device(device)
            with self._register.changing():
                return self._claim(token, request, name)
        except RefusedError as error:
            self._count(error, address, None if token is None else token.digest)
            raise

    def renew(self, certificate: bytes | None, csr: bytes, address: str) -> Granted:
        """Give a device its next certificate.

        Args:
            certificate: DER, as TLS verified it but for its dates; None: none was shown.
            csr: for the next one.
            address: who asks.

        Raises:
            RefusedError: it gets none; this is counted.
            IdentityError: the register cannot be written now.
        """
        self._let_in(address)
        try:
            request = _request(csr)
            with self._register.changing():
                return self._renew(certificate, request)
        except RefusedError as error:
            self._count(error, address, None)
            raise

    def _let_in(self, address: str) -> None:
        if not self._limits.may_ask(address, self._monotonic_s()):
            error = RefusedError("too_many", 429, "too many requests from this address; try later", is_final=False)
            # Not written down one by one: a flood must not become a flood of writes.
            logger.debug("%s: %s", address, error)
            raise error

    def _count(self, error: RefusedError, address: str, digest: str | None) -> None:
        if not self._limits.was_wrong(address, self._monotonic_s()):
            logger.error("enrolment is refused more often than any fleet errs: somebody may be guessing; see refusals")
            return
        logger.warning("refused %s: %s (%s)", address, error, error.kind)
        self._register.count_refusal(error.kind, self._utc_s(), address, digest)

    # --- a claim token -----------------------------------------------------------------------------------------------

    def _claim(self, token: ClaimToken, request: SigningRequest, owner: str) -> Granted:
        if token.fleet != self._fleet:
            raise RefusedError("other_fleet", 403, f"the token is for another fleet than {self._fleet}")
        now_s = self._utc_s()
        row = self._register.token(token.digest)
        if row is None:
            raise RefusedError("unknown_token", 403, "the token is not known here")
        again = self._register.claimed_by(token.digest, request.key)
        if again is not None:
            return self._same_again(again, owner)
        _check_token(row, now_s)
        identity = self._identity_for(row, owner)
        issued = self._issuer.issue(request, identity, now_s, self._rules.device_days)
        self._register.put_identity(IdentityRow(identity, "active", now_s, _BY, f"token {token.label}"))
        self._register.put_certificate(identity, issued, now_s, f"token {token.label}")
        self._register.claim(token.digest, request.key, issued.serial)
        logger.info("enrolled %s by token %s", identity.name, token.label)
        return Granted(owner, issued.chain, issued.not_before_utc_s, issued.not_after_utc_s)

    def _same_again(self, certificate: CertificateRow, owner: str) -> Granted:
        """Answer a device whose answer was lost."""
        row = self._register.find(certificate.name)
        if row is None or row.state != "active" or row.identity.owner != owner:
            raise RefusedError("used_token", 403, "the token was used already, by this key for another identity")
        if certificate.superseded or certificate.not_after_utc_s <= self._utc_s():
            raise RefusedError("used_token", 403, "the token was used already, and what it gave has been renewed since")
        return _granted(row.identity, certificate)

    def _identity_for(self, token: TokenRow, owner: str) -> Identity:
        newest = self._register.newest(Identity(Role.DEVICE, owner))
        if token.name is None:
            if newest is not None:
                raise RefusedError(
                    "device_taken", 409, f"{owner} is known already; it needs a token of its own: rotate"
                )
            return Identity(Role.DEVICE, owner)
        row = self._register.find(token.name)
        if row is None or row.identity.owner != owner:
            raise RefusedError("not_this_device", 403, f"the token is not for {owner}")
        if newest is None or newest.identity != row.identity or row.state != "awaited":
            raise RefusedError("used_token", 403, f"{row.identity.name} is not awaited any more: it is {row.state}")
        return row.identity

    # --- a certificate -----------------------------------------------------------------------------------------------

    def _renew(self, der: bytes | None, request: SigningRequest) -> Granted:
        if der is None:
            raise RefusedError("no_certificate", 401, "renewal needs the present certificate; none was shown")
        now_s = self._utc_s()
        try:
            presented = read_presented(der)
        except (IdentityError, ValueError) as error:
            raise RefusedError("foreign_certificate", 403, str(error)) from error
        certificate = self._register.certificate(presented.serial)
        if presented.fleet != self._fleet or certificate is None or certificate.fingerprint != presented.fingerprint:
            raise RefusedError("unknown_certificate", 403, "this certificate is not in the fleet's register")
        row = self._register.find(certificate.name)
        if row is None or row.identity.role is not Role.DEVICE:
            raise RefusedError("not_a_device", 403, f"{certificate.name} does not renew here")
        if row.state != "active":
            raise RefusedError("revoked", 403, f"{certificate.name} is {row.state}; it needs a new token: rotate")
        if certificate.superseded:
            text = f"{certificate.name} renews with a certificate whose successor is in use: two may hold its key"
            raise RefusedError("superseded", 403, text)
        if now_s > certificate.not_after_utc_s + self._rules.grace_days * _DAY_S:
            days = (now_s - certificate.not_after_utc_s) / _DAY_S
            raise RefusedError("expired", 403, f"{certificate.name} ended {days:.0f} days ago; it needs a new token")
        issued = self._issuer.issue(request, row.identity, now_s, self._rules.device_days)
        # Its use shows that the answer which brought it arrived: those before it have had their time.
        self._register.supersede_before(certificate)
        self._register.put_certificate(row.identity, issued, now_s, "renewal")
        logger.info("renewed %s", row.identity.name)
        return Granted(row.identity.owner, issued.chain, issued.not_before_utc_s, issued.not_after_utc_s)


def _check_token(row: TokenRow, now_s: float) -> None:
    if row.refused >= MAX_REFUSED_PER_TOKEN:
        raise RefusedError("locked_token", 403, "the token was shown in vain too often and is locked")
    if row.withdrawn:
        raise RefusedError("withdrawn_token", 403, "the token was withdrawn")
    if now_s >= row.expires_utc_s:
        raise RefusedError("expired_token", 403, "the token has expired")
    if row.used >= row.uses:
        raise RefusedError("used_token", 403, "the token was used already")


def _granted(identity: Identity, certificate: CertificateRow) -> Granted:
    return Granted(identity.owner, certificate.chain, certificate.not_before_utc_s, certificate.not_after_utc_s)


def _parse(text: str) -> ClaimToken:
    try:
        return parse_token(text)
    except IdentityError as error:
        raise RefusedError("unknown_token", 403, str(error)) from error


def _request(csr: bytes) -> SigningRequest:
    try:
        return SigningRequest(csr)
    except IdentityError as error:
        raise RefusedError("bad_request", 400, str(error)) from error


def _device(text: str) -> str:
    try:
        return parse_device(text)
    except TopicError as error:
        raise RefusedError("bad_request", 400, _PRINTABLE.sub("?", str(error))) from error
