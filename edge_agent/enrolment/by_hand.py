"""Enrols a device for a person who stands at it; the agent itself must not be at work."""

from datetime import UTC, datetime
from pathlib import Path

from edge_agent.durable import make_folder
from edge_agent.enrolment.claim_token import read_token
from edge_agent.enrolment.identity_file import Held, read_held
from edge_agent.enrolment.messages import EnrolmentOrder
from edge_agent.enrolment.steps import take_step
from edge_agent.errors import AgentError, SettingsError
from edge_agent.lock import StateLock
from edge_agent.settings import AgentSettings

_TIMEOUT_S = 30.0


class EnrolmentFailedError(AgentError):
    """The device did not get a certificate: the message says why."""

    exit_code = 5


def enrol(settings: AgentSettings, token_file: Path | None, url: str | None, ca: Path | None) -> Held:
    """Get a certificate for a claim token, and keep it in the state folder.

    Args:
        settings: who this is, and where its state folder is.
        token_file: where the token lies; None: where the settings say.
        url: of the endpoint; None: as the settings say.
        ca: file with the fleet's root certificate; None: as the settings say.

    Raises:
        SettingsError: neither says where, or there is no token.
        StateInUseError: the agent is at work: with ``enrolment.token_file`` it enrols by itself.
        EnrolmentFailedError: there is no certificate.
    """
    known = settings.enrolment
    token = str(token_file) if token_file is not None else known.token_file if known is not None else None
    address = url or (known.url if known is not None else None)
    root = str(ca) if ca is not None else known.ca if known is not None else None
    if token is None or address is None or root is None:
        raise SettingsError("give --token-file, --url and --ca, or say them in the settings under [enrolment]")
    if not address.startswith("https://"):
        raise SettingsError(f"{address!r} is not an address like https://host:8884")
    state = Path(settings.state)
    make_folder(state)
    _verify_token(Path(token), state, settings.device)
    lock = StateLock(state)
    try:
        report = take_step(
            EnrolmentOrder(
                step="enrol",
                url=address,
                ca=root,
                device=settings.device,
                fleet=settings.fleet,
                state=str(state),
                token_file=token,
                timeout_s=known.timeout_s if known is not None else _TIMEOUT_S,
            )
        )
    finally:
        lock.close()
    held = read_held(state)
    if report.outcome != "done" or held is None:
        how = "refused" if report.outcome == "refused" else "try again later"
        raise EnrolmentFailedError(f"not enrolled, {how}: {report.detail}")
    return held


def _verify_token(token: Path, state: Path, device: str) -> None:
    """Look at the token before anybody is asked, so that a file that is not there is called by its name."""
    try:
        read_token(token)
    except SettingsError as error:
        held = read_held(state)
        if held is None:
            raise SettingsError(f"not enrolled: {error}; fieldloop device token makes one") from error
        until = datetime.fromtimestamp(held.not_after_utc_s, UTC)
        raise SettingsError(
            f"{error}. {device} has a certificate until {until:%Y-%m-%d %H:%M} UTC and renews it by itself; a new "
            f"identity needs a token of `fieldloop device rotate {device}`"
        ) from error
