"""Does one step with the enrolment endpoint, whole: the disk has the old identity afterwards, or the new one."""

from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from edge_agent.durable import make_folder, sync_folder
from edge_agent.enrolment.claim_token import ClaimToken, read_token
from edge_agent.enrolment.endpoint import EnrolmentEndpoint, RefusedError, UnreachableError
from edge_agent.enrolment.identity_file import IDENTITY_NAME, NEXT_KEY_NAME, Held, read_held, write_identity
from edge_agent.enrolment.messages import EnrolmentOrder, EnrolmentReport
from edge_agent.enrolment.signing_request import keep_key, make_request, verify_answer
from edge_agent.errors import AgentError


class _Broker(Struct, frozen=True):
    host: str
    port: int


class _Answer(Struct, frozen=True):
    fleet: str
    device: str
    chain: str
    not_before_utc_s: float
    not_after_utc_s: float
    broker: _Broker


def take_step(order: EnrolmentOrder) -> EnrolmentReport:
    """Do it; whatever goes wrong is in the report."""
    try:
        return _take(order)
    except RefusedError as error:
        return EnrolmentReport("refused", str(error))
    except (AgentError, OSError) as error:
        return EnrolmentReport("unreachable", str(error))


def _take(order: EnrolmentOrder) -> EnrolmentReport:
    state = Path(order.state)
    make_folder(state)
    held = read_held(state)
    token = read_token(Path(order.token_file)) if order.step == "enrol" and order.token_file is not None else None
    if token is not None and token.fleet != order.fleet:
        return EnrolmentReport("refused", f"the claim token is for fleet {token.fleet}, not {order.fleet}")
    floor_s = max(held.at_utc_s if held is not None else 0.0, token.issued_utc_s if token is not None else 0.0)
    identity = str(state / IDENTITY_NAME) if order.step == "renew" else None
    with EnrolmentEndpoint(order.url, order.ca, identity, order.timeout_s) as endpoint:
        now_s = endpoint.ask_time(floor_s)
        if order.step == "time":
            return EnrolmentReport("done", "the server told the time", now_s)
        key = keep_key(state / NEXT_KEY_NAME)
        csr = make_request(state / NEXT_KEY_NAME, order.device).decode()
        if order.step == "renew":
            told = endpoint.post("/renew", {"csr": csr})
        elif token is not None:
            told = endpoint.post("/enrol", {"token": token.text, "device": order.device, "csr": csr})
        else:
            return EnrolmentReport("refused", "there is no claim token")
    answer = _read(told)
    chain = answer.chain.encode()
    if (answer.device, answer.fleet) != (order.device, order.fleet):
        raise UnreachableError(f"the answer is for {answer.device} of fleet {answer.fleet}")
    verify_answer(chain, Path(order.ca), state / NEXT_KEY_NAME, order.device, order.fleet)
    label = token.label if token is not None else held.token if held is not None else ""
    new = Held(
        device=order.device,
        fleet=order.fleet,
        not_before_utc_s=answer.not_before_utc_s,
        not_after_utc_s=answer.not_after_utc_s,
        at_utc_s=now_s,
        broker_host=answer.broker.host,
        broker_port=answer.broker.port,
        token=label,
    )
    write_identity(state, new, key, chain)
    # The order matters: a cut before this asks again with the same key, and gets the same answer or the next one.
    (state / NEXT_KEY_NAME).unlink(missing_ok=True)
    sync_folder(state)
    done = "enrolled" if order.step == "enrol" else "renewed the certificate"
    left = "" if token is None else _remove_token(token)
    return EnrolmentReport("done", f"{done}{left}", now_s)


def _remove_token(token: ClaimToken) -> str:
    """Remove a token that is of no use to this device any more; it may be of use to whoever takes its card."""
    try:
        token.path.unlink(missing_ok=True)
    except OSError as error:
        return f"; the claim token {token.path} could not be removed: {error.strerror or error}"
    return ""


def _read(told: dict[str, Any]) -> _Answer:
    try:
        return msgspec.convert(told, _Answer)
    except msgspec.ValidationError as error:
        raise UnreachableError(f"the answer is not what it should be: {error}") from error
