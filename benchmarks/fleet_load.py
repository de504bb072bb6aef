"""Holds thousands of simulated devices on one broker, each with a link of its own by TLS, in one asyncio process.

    python -m benchmarks.fleet_load HOST PORT FOLDER DEVICES WINDOW_S [RESEND_S]

FOLDER has ``ca.pem``, and of each device ``<name>.pem`` (certificate and key). Each device keeps a window until the
monitor's mark covers it, and sends it again on a new link, or after RESEND_S, as an agent does; links come back by the
agent's backoff. It prints a line of JSON when all are up, when none is, and at the end; a line on its standard input
ends the windows, and once everything is released, or after a minute, the program. The last line tells of each window
when it was made (the machine's monotonic clock) and after how long its mark came.
"""

import asyncio
import json
import random
import resource
import ssl
import sys
import time
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np

from benchmarks.fleet_windows import make_window
from broker import frames
from broker.backoff import backoff_s, return_s
from broker.errors import WireError
from broker.frames import FrameReader
from broker.messages import MAX_BYTES, Epoch, RecordKey, Status, Stored, encode, encode_body, encode_record, parse_as
from broker.packs import pack_payloads
from broker.topics import Channel, DeviceId, FleetId, Topic
from edge_agent.settings import BrokerSettings

FLEET: Final = FleetId("bench")
KEEPALIVE_S: Final = 1200
# The devices have one processor together, not one each: so many agree on TLS at a time.
HANDSHAKES: Final = 150
HANDSHAKE_S: Final = 60.0
RESEND_S: Final = 45.0
DRAIN_S: Final = 60.0
SEED: Final = 7
_PACKET_ID: Final = 1
_BODIES: Final = 20


def name_of(number: int) -> DeviceId:
    """Return the name of a device, which its certificate has too."""
    return DeviceId(f"device-{number:05}")


class Device(asyncio.Protocol):
    """One device: its link, and the windows that are not stored yet."""

    def __init__(self, fleet: "Fleet", number: int) -> None:
        self.name = name_of(number)
        self.kept: OrderedDict[int, tuple[float, bytes]] = OrderedDict()
        self.sequence = 0
        self.failures = 0
        self.has_held = False
        self.is_up = False
        self.gone = asyncio.Event()
        self._fleet = fleet
        self._transport: asyncio.Transport | None = None
        self._reader = FrameReader(MAX_BYTES[Channel.STORED] + 512)
        self._telemetry = str(Topic(FLEET, self.name, Channel.TELEMETRY)).encode()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """TLS is agreed on: say who this is."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._reader = FrameReader(MAX_BYTES[Channel.STORED] + 512)
        self.gone.clear()
        transport.write(frames.connect(self.name, KEEPALIVE_S, clean_session=True, will=None))

    def data_received(self, data: bytes) -> None:
        """Read what the broker says."""
        for first, body in self._reader.feed(data):
            kind = first & frames.KIND
            if kind == frames.CONNACK and self._transport is not None:
                wanted = [(str(Topic(FLEET, self.name, Channel.STORED)), 0)]
                self._transport.write(frames.subscribe(_PACKET_ID, wanted))
            elif kind == frames.SUBACK:
                self._begin(is_allowed=body[2] < frames.REFUSED_FILTER)
            elif kind == frames.PUBLISH:
                self._release(frames.parse_message(first, body)[2])

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        """Count the loss; who connects again is waiting for `gone`."""
        self._transport = None
        if self.is_up:
            self.is_up = False
            self._fleet.count_up(-1)
        self.gone.set()

    def score(self, body: bytes) -> None:
        """Keep a window, and send it where there is a link."""
        self.sequence += 1
        record = encode_record(RecordKey(Epoch(SEED), self.sequence, self.sequence - 1), body)
        payload = pack_payloads([record])
        self.kept[self.sequence] = (time.monotonic(), payload)
        self._send(payload)

    def send_again(self) -> None:
        """Send everything that is not stored."""
        for _, payload in self.kept.values():
            self._send(payload)

    def _begin(self, *, is_allowed: bool) -> None:
        if not is_allowed:
            raise PermissionError(f"{self.name} may not hear its own marks")
        self.is_up, self.has_held, self.failures = True, True, 0
        self._fleet.count_up(1)
        status = Status(online=True, at_utc_s=0.0, boot_id="bench", agent_version="bench")
        self._publish(str(Topic(FLEET, self.name, Channel.STATUS)).encode(), encode(status), retained=True)
        self.send_again()

    def _send(self, payload: bytes) -> None:
        if self.is_up:
            self._publish(self._telemetry, payload, retained=False)

    def _publish(self, topic: bytes, payload: bytes, *, retained: bool) -> None:
        if self._transport is not None:
            self._transport.write(frames.publish(topic, payload, _PACKET_ID, retained=retained))

    def _release(self, payload: bytes) -> None:
        try:
            mark = parse_as(Stored, Channel.STORED, payload)
        except WireError:
            return
        while self.kept and next(iter(self.kept)) <= mark.sequence:
            _, (made_s, _) = self.kept.popitem(last=False)
            self._fleet.delays_s.append((made_s, time.monotonic() - made_s))


class Fleet:
    """All devices, and what they do at which time."""

    def __init__(
        self, address: tuple[str, int], folder: Path, n_devices: int, window_s: float, resend_s: float
    ) -> None:
        self.delays_s: list[tuple[float, float]] = []
        self._address = address
        self._folder = folder
        self._window_s = window_s
        self._resend_s = resend_s
        self._rng = random.Random(SEED)
        self._turns = asyncio.Semaphore(HANDSHAKES)
        self._n_up = 0
        self._began_s = time.monotonic()
        self._is_scoring = True
        rng = np.random.default_rng(SEED)
        self._bodies = [encode_body(make_window(rng, number)) for number in range(_BODIES)]
        self.devices = [Device(self, number) for number in range(n_devices)]

    def count_up(self, change: int) -> None:
        """Note that a link came up or was lost; say so when all are up, or none is."""
        self._n_up += change
        if self._n_up in {0, len(self.devices)}:
            _say(up=self._n_up, after_s=time.monotonic() - self._began_s)
        if self._n_up == 0:
            self._began_s = time.monotonic()

    async def run(self) -> None:
        """Hold the devices until a line comes in, and until what they have sent is stored."""
        tasks = [asyncio.create_task(self._hold(device)) for device in self.devices]
        tasks += [asyncio.create_task(self._score(device)) for device in self.devices]
        await asyncio.to_thread(sys.stdin.readline)
        self._is_scoring = False
        end_s = time.monotonic() + DRAIN_S
        while any(device.kept for device in self.devices) and time.monotonic() < end_s:
            await asyncio.sleep(5.0)
            for device in self.devices:
                device.send_again()
        kilobytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        sent = sum(device.sequence for device in self.devices)
        kept = sum(len(device.kept) for device in self.devices)
        _say(sent=sent, kept=kept, bytes=kilobytes * 1024, delays_s=self.delays_s)
        for task in tasks:
            task.cancel()

    async def _hold(self, device: Device) -> None:
        loop = asyncio.get_running_loop()
        context = ssl.create_default_context(cafile=str(self._folder / "ca.pem"))
        context.load_cert_chain(self._folder / f"{device.name}.pem")
        host, port = self._address
        while True:
            try:
                async with self._turns:
                    await loop.create_connection(
                        lambda: device, host, port, ssl=context, server_hostname=host, ssl_handshake_timeout=HANDSHAKE_S
                    )
                await device.gone.wait()
            except OSError:
                device.failures += 1
            await asyncio.sleep(self._pause_s(device))

    def _pause_s(self, device: Device) -> float:
        if device.has_held:
            return return_s(device.failures + 1, self._rng, spread_s=BrokerSettings().spread_s)
        return backoff_s(device.failures, self._rng)

    async def _score(self, device: Device) -> None:
        await asyncio.sleep(self._rng.uniform(0, self._window_s))
        again_s = time.monotonic() + self._resend_s
        while self._is_scoring:
            device.score(self._rng.choice(self._bodies))
            await asyncio.sleep(self._window_s)
            if len(device.kept) > 1 and time.monotonic() > again_s:
                device.send_again()
                again_s = time.monotonic() + self._resend_s


def _say(**what: float | list[tuple[float, float]]) -> None:
    print(json.dumps(what), flush=True)


def main(arguments: Sequence[str]) -> None:
    """Run a fleet."""
    host, port, folder, n_devices, window_s, *others = arguments
    resend_s = float(others[0]) if others else RESEND_S
    fleet = Fleet((host, int(port)), Path(folder), int(n_devices), float(window_s), resend_s)
    asyncio.run(fleet.run())


if __name__ == "__main__":
    main(sys.argv[1:])
