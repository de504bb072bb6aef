"""Loads the codec of packs where it is built for this machine; nothing needs it, it only saves time."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol, TypeVar, cast

from broker.extensions import find_extension, load_extension, takes_extensions

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

FILE_NAME: Final = "fieldloop_codec.so"
LIBRARIES: Final = Path(__file__).parent / "lib"
_MODULE: Final = "fieldloop_codec"

KeyT = TypeVar("KeyT")
WindowT = TypeVar("WindowT")
# Of keys, bundles, features, resources and windows: each is called with all of its fields by position.
Part = Callable[..., object]
Makers = tuple[Callable[..., KeyT], Part, Part, Part, Callable[..., WindowT]]


class Codec(Protocol):
    """The extension module. Its functions hold the interpreter's lock, and use one block of memory again."""

    def unpack(self, pack: "ReadableBuffer", /) -> list[bytes]:
        """Return the payloads of version 1 that a payload of version 2 carries.

        Raises:
            ValueError: no pack, or numbers or texts in it that version 1 refuses; the message says why.
            OverflowError: it has numbers that only Python reckons with.
        """
        ...

    def read(self, pack: "ReadableBuffer", makers: Makers[KeyT, WindowT], /) -> list[tuple[KeyT, WindowT]]:
        """Return the records of a pack; raise as `unpack` does, or what a maker raises."""
        ...

    def read_whole(self, pack: "ReadableBuffer", makers: Makers[KeyT, WindowT], /) -> list[tuple[KeyT, WindowT, bytes]]:
        """Return the records of a pack as `read` does, each with its payload of version 1."""
        ...

    def pack(self, payloads: list[bytes], /) -> bytes:
        """Return one payload that carries these of version 1; it was unpacked again and compared.

        Raises:
            ValueError: they have to be sent as they are.
            OverflowError: they have numbers that only Python reckons with.
        """
        ...


def load_codec(library: Path | None = None) -> Codec | None:
    """Load the codec from a file (that of this machine); None where there is none, or it cannot be loaded."""
    library = library or find_extension(LIBRARIES, FILE_NAME)
    if library is None or not takes_extensions():
        return None
    try:
        return cast("Codec", load_extension(library, _MODULE))
    except ImportError:
        # Built for another system: Python does the same, slower.
        return None
