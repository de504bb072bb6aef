"""Fuzzes what reads the wire, guided by coverage: ``python -m tests.fuzz.message_fuzzer CORPUS… -FLAG=…``.

A message is one byte, which names the channel, and a payload. It gives a body or raises WireError; it raises nothing
else, takes little memory, and is done soon. The flags are libFuzzer's; the first corpus gets what is found.
"""

import importlib
import resource
import sys
from contextlib import suppress
from pathlib import Path
from typing import Final

# Beyond what the process has when it begins, libFuzzer's own corpus included.
MAX_MEMORY_BYTES: Final = 128 << 20
_INSTRUMENTED: Final = ("broker.entropy", "broker.counts", "broker.messages", "broker.packs")


def read_message(data: bytes) -> int:
    """Read a payload as a receiver does; return how many bodies it gave."""
    from broker.messages import parse
    from broker.packs import unpack
    from broker.topics import Channel

    channels = tuple(Channel)
    channel = channels[data[0] % len(channels)] if data else Channel.STATUS
    payloads = unpack(channel, data[1:])
    for payload in payloads:
        parse(channel, payload)
    return len(payloads)


def main(arguments: list[str]) -> None:
    """Fuzz until libFuzzer ends the process."""
    import atheris

    with atheris.instrument_imports(include=list(_INSTRUMENTED)):
        for module in _INSTRUMENTED:
            importlib.import_module(module)
    from broker.errors import WireError

    def is_body_or_wire_error(data: bytes) -> None:
        with suppress(WireError):
            read_message(data)

    atheris.Setup(arguments, is_body_or_wire_error)
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[5])
    limit = pages * resource.getpagesize() + MAX_MEMORY_BYTES
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv)
