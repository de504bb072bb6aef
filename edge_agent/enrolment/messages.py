"""What the agent tells the process that talks to the enrolment endpoint, and what it hears from it."""

from typing import Literal

from msgspec import Struct

from edge_agent.enrolment.next_step import Step

# "refused": asking again with the same things is of no use; "unreachable": try again.
Outcome = Literal["done", "refused", "unreachable"]


class EnrolmentOrder(Struct, frozen=True):
    """What to do.

    Attributes:
        step: enrol, renew, or only ask the time.
        url: of the endpoint.
        ca: file with the fleet's root certificate.
        device, fleet: who this is.
        state: the state folder.
        token_file: where the claim token lies; for `enrol`.
        timeout_s: longest silence of the server.
    """

    step: Step
    url: str
    ca: str
    device: str
    fleet: str
    state: str
    token_file: str | None
    timeout_s: float


class EnrolmentReport(Struct, frozen=True):
    """What became of it.

    Attributes:
        outcome: in a word.
        detail: for people; holds no secret.
        utc_s: the server's time, where it told it.
    """

    outcome: Outcome
    detail: str
    utc_s: float | None = None
