"""Fuzzes what reads the wire, guided by coverage: ``python -m tests.fuzz.message_fuzzer CHANNEL CORPUS… -FLAG=…``.

A message is one byte, which names the channel where CHANNEL is ``all``, and a payload. It gives a body or raises
WireError; it raises nothing else, takes little memory, and is done soon. Of a pack, the codec in C and Python make the
same. The flags are libFuzzer's; the first corpus gets what is found.
"""

import importlib
import resource
import sys
from contextlib import suppress
from pathlib import Path
from typing import Final

# Beyond what the process has when it begins, libFuzzer's own corpus included.
MAX_MEMORY_BYTES: Final = 128 << 20
_INSTRUMENTED: Final = ("broker.entropy", "broker.counts", "broker.messages", "broker.pack_form", "broker.packs")


def read_message(data: bytes, name: str = "all") -> int:
    """Read a payload as a receiver does, and as one without the codec does; return how many bodies it gave."""
    from broker.errors import WireError
    from broker.messages import MAX_BYTES, parse
    from broker.packs import PACK_VERSION, unpack, unpack_with
    from broker.topics import Channel

    channels = tuple(Channel)
    named = channels[data[0] % len(channels)] if data else Channel.STATUS
    channel = named if name == "all" else Channel(name)
    payload = data[1:]
    in_python: list[bytes] | None = None
    if channel is Channel.TELEMETRY and payload[:1] == bytes([PACK_VERSION]) and len(payload) <= MAX_BYTES[channel]:
        with suppress(WireError):
            read = unpack_with(None, payload)
            for each in read:
                parse(channel, each)
            in_python = read
        try:
            taken: list[bytes] | None = list(unpack(channel, payload))
        except WireError:
            taken = None
        assert taken == in_python, "the codec and Python do not agree"
    payloads = unpack(channel, payload)
    for each in payloads:
        parse(channel, each)
    return len(payloads)


def main(arguments: list[str]) -> None:
    """Fuzz until libFuzzer ends the process."""
    import atheris

    name = arguments.pop(1)
    with atheris.instrument_imports(include=list(_INSTRUMENTED)):
        for module in _INSTRUMENTED:
            importlib.import_module(module)
    from broker.errors import WireError

    def is_body_or_wire_error(data: bytes) -> None:
        with suppress(WireError):
            read_message(data, name)

    atheris.Setup(arguments, is_body_or_wire_error)
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[5])
    limit = pages * resource.getpagesize() + MAX_MEMORY_BYTES
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv)
