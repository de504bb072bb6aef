"""The process that takes one step: reads an order from stdin, writes a report to stdout, and ends."""

import sys

import msgspec

from edge_agent.enrolment.messages import EnrolmentOrder
from edge_agent.enrolment.steps import take_step


def main() -> int:
    """Take the step that stdin orders."""
    order = msgspec.json.decode(sys.stdin.buffer.readline(), type=EnrolmentOrder)
    sys.stdout.buffer.write(msgspec.json.encode(take_step(order)))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
