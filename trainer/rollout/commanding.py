"""Asks one device for something by a command, and waits for its reply. What is asked is the caller's."""

import queue
import random
import ssl
import threading
from collections.abc import Callable
from typing import Final

from broker.audit import AuditedPublisher, AuditLog
from broker.client import Delivery, Endpoint, WireClient
from broker.errors import WireError
from broker.messages import (
    AskLabels,
    Command,
    Diagnose,
    Reply,
    ReportStatus,
    RollBack,
    ScoreRow,
    StartShadow,
    StopShadow,
    encode,
    parse_as,
)
from broker.topics import Channel, DeviceId, FleetId, Topic
from edge_agent.clock import Clock
from trainer.errors import TrainerError

Order = AskLabels | ReportStatus | RollBack | ScoreRow | Diagnose | StartShadow | StopShadow

# Until the broker has taken the command.
CONNECT_S: Final = 15.0


class NoReplyError(TrainerError):
    """The device did not answer in time: it is away, or of another fleet; try again later."""

    exit_code = 11


class OrderRefusedError(TrainerError):
    """The device answered that it does not do this; the message says why."""

    exit_code = 12


def ask_device(  # noqa: PLR0913 - each is named by its caller
    endpoint: Endpoint,
    fleet: FleetId,
    device: DeviceId,
    order: Order,
    *,
    by: str,
    timeout_s: float,
    clock: Clock,
    log: AuditLog,
    rng: random.Random,
    tls: ssl.SSLContext | None = None,
) -> Reply:
    """Send one command, and return the device's reply to it, which accepts it.

    Args:
        endpoint: where the broker listens.
        fleet: of the device.
        device: whom to ask.
        order: what for.
        by: who asks; the device logs it.
        timeout_s: how long to wait for the reply. A device that hears of the command later than that ignores it.
        clock: UTC for the command's expiry.
        log: where the command is written down before it is sent.
        rng: chance, for names that are used once.
        tls: how the broker is known, and who this is to it; None: nothing is encrypted.

    Raises:
        AuditError: the command cannot be written down; it is not sent.
        LinkError: the broker does not take the command.
        NoReplyError: no reply came in time.
        OrderRefusedError: the device refused.
    """
    command_id = f"{type(order).__name__}-{rng.getrandbits(48):012x}"
    replies: queue.SimpleQueue[Reply] = queue.SimpleQueue()
    up = threading.Event()
    client = WireClient(
        endpoint,
        f"command-{fleet}-{rng.getrandbits(32):08x}",
        filters=(str(Topic(fleet, device, Channel.REPLY)),),
        on_delivery=_reader(command_id, replies),
        on_link=lambda is_up: up.set() if is_up else up.clear(),
        rng=rng,
        clean_session=True,
        tls=tls,
    )
    publish = AuditedPublisher(lambda topic, payload: client.publish_and_wait(topic, payload, CONNECT_S), log, by)
    client.start()
    try:
        up.wait(CONNECT_S)
        command = Command(command_id, clock.utc_s() + timeout_s, by[:128], order)
        publish(Topic(fleet, device, Channel.COMMAND), encode(command))
        try:
            reply = replies.get(timeout=timeout_s)
        except queue.Empty:
            raise NoReplyError(
                f"{device} of fleet {fleet} did not reply within {timeout_s:g} s: see whether it is online with "
                "'fieldloop devices', and ask again"
            ) from None
    finally:
        client.close()
    if not reply.accepted:
        raise OrderRefusedError(f"{device} refuses: {reply.reason}")
    return reply


def _reader(command_id: str, replies: "queue.SimpleQueue[Reply]") -> Callable[[Delivery], None]:
    """Return what takes a delivery apart, and keeps the reply to one command; others' are let be."""

    def read(delivery: Delivery) -> None:
        try:
            reply = parse_as(Reply, delivery.topic.channel, delivery.payload)
        except WireError:
            return
        if reply.command_id == command_id:
            replies.put(reply)

    return read
