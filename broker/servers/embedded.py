"""The embedded broker: amqtt in a process of its own, ``python -m broker.servers.embedded --port PORT``.

It is the default where no Mosquitto is installed, and serves one machine only: it knows no identities (its TLS accepts
clients without a certificate) and forgets absent clients, so any interface but loopback is refused.
"""

import argparse
import asyncio
import logging
import signal
import sys
from collections.abc import Sequence

from amqtt.adapters import StreamReaderAdapter, StreamWriterAdapter
from amqtt.broker import Broker
from amqtt.errors import BrokerError as AmqttError

from broker.errors import BrokerStartError
from broker.messages import MAX_PACKET_BYTES, MessageTooLargeError
from broker.servers.loopback import verify_loopback

logger = logging.getLogger(__name__)


class BoundedReader(StreamReaderAdapter):  # type: ignore[misc]  # amqtt ships no types
    """Cuts the link of a client that announces a packet over the wire's largest; amqtt would read up to 256 MB."""

    async def read(self, n: int = -1) -> bytes:
        """Read ``n`` bytes.

        Raises:
            MessageTooLargeError: more than any message of the wire is announced; nothing was read.
        """
        if n > MAX_PACKET_BYTES:
            # Not one of amqtt's own errors: after those it goes on and takes the rest of the packet for new ones.
            raise MessageTooLargeError(f"a packet of {n} bytes is announced, at most {MAX_PACKET_BYTES} are read")
        data: bytes = await super().read(n)
        return data


class BoundedBroker(Broker):  # type: ignore[misc]  # amqtt ships no types
    """amqtt's broker, with a bound on what it reads at once."""

    async def stream_connected(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, listener_name: str
    ) -> None:
        """Serve one client."""
        await self._client_connected(listener_name, BoundedReader(reader), StreamWriterAdapter(writer))


async def serve(host: str, port: int) -> None:
    """Run the broker until SIGTERM or SIGINT.

    Raises:
        BrokerStartError: another interface than loopback, or the port cannot be opened.
    """
    verify_loopback(host)
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    listener = {"type": "tcp", "bind": f"[{host}]:{port}" if ":" in host else f"{host}:{port}"}
    plugins: dict[str, object] = {"amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}}
    broker = BoundedBroker({"listeners": {"default": listener}, "plugins": plugins})
    try:
        await broker.start()
    except AmqttError as error:
        raise BrokerStartError(f"{host}:{port}: {error}") from error
    logger.info("embedded broker listens on %s:%d", host, port)
    await stopping.wait()
    await broker.shutdown()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the embedded broker as a program; return its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m broker.servers.embedded", description="Run the embedded MQTT broker."
    )
    parser.add_argument("--host", default="127.0.0.1", help="a loopback address (default: %(default)s)")
    parser.add_argument("--port", type=int, required=True, help="the port to listen on")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logger.setLevel(logging.INFO)
    try:
        asyncio.run(serve(options.host, options.port))
    except BrokerStartError as error:
        logger.error("%s", error)  # noqa: TRY400 - the message is made for people
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
