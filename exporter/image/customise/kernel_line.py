"""Edits the kernel's command line (``cmdline.txt``), which is one line of words that no program may break."""

from collections.abc import Iterable
from typing import Final

from exporter.image.customise.errors import CustomiseError

# Longer ones are cut off by the kernel of arm64 without a word (COMMAND_LINE_SIZE).
MAX_BYTES: Final = 2048


def words_of(content: bytes) -> tuple[str, ...]:
    """Return the words of a ``cmdline.txt``.

    Raises:
        CustomiseError: it is empty, or no text of one line.
    """
    try:
        text = content.decode("ascii").strip("\r\n \t\0")
    except UnicodeDecodeError as error:
        raise CustomiseError("cmdline.txt holds more than ASCII: is it the one of a Raspberry Pi?") from error
    if not text or "\n" in text:
        raise CustomiseError(f"cmdline.txt has {len(text.splitlines())} lines; a Raspberry Pi reads one")
    return tuple(text.split())


def replaced(words: Iterable[str], added: Iterable[str]) -> tuple[str, ...]:
    """Return a command line in which each added word stands once, at the end, instead of every other of its name."""
    added = tuple(added)
    names = {_name(word) for word in added}
    return (*(word for word in words if _name(word) not in names), *added)


def one_line(words: Iterable[str]) -> bytes:
    """Return the file of these words.

    Raises:
        CustomiseError: the kernel would cut it off.
    """
    line = " ".join(words).encode("ascii") + b"\n"
    if len(line) > MAX_BYTES:
        raise CustomiseError(f"cmdline.txt would have {len(line)} bytes; the kernel reads {MAX_BYTES}")
    return line


def _name(word: str) -> str:
    return word.partition("=")[0]
