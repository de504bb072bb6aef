"""The agent's settings as they stand on a card, and the files that they name, each with its place on the board.

The settings are those that a user tries on his own machine. Files that the agent reads go along with the card; what it
writes goes to its state folder, the only one it may write to. An absolute path is the board's already and stays.
"""

import re
from collections.abc import Callable
from pathlib import PurePosixPath
from typing import Final, TypeVar

import msgspec

from edge_agent.settings import STDIN, AgentSettings, BrokerSettings, SinkSettings, SourceSettings, problems_of
from exporter.image.card.description import Placed
from exporter.image.card.toml_text import Value, toml_text
from exporter.image.errors import CardError

SETTINGS_FOLDER: Final = PurePosixPath("/etc/fieldloop")
STATE_FOLDER: Final = PurePosixPath("/var/lib/fieldloop")
TOKEN: Final = STATE_FOLDER / "claim-token"
# Files in the state folder that are the card's; the folder becomes the agent's at its first start.
_SECRETS: Final = STATE_FOLDER / "card"
_NAME: Final = re.compile("[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
# Stands for the machine's own digits while a name is looked at.
_ANY_MACHINE: Final = "0123456789"

ReadFile = Callable[[str], bytes]
PlaceT = TypeVar("PlaceT", BrokerSettings, SourceSettings, SinkSettings)


class _Placing:
    """Gives each file that the settings name its place; the same file twice is one."""

    def __init__(self, read: ReadFile) -> None:
        self._read = read
        self._placed: dict[PurePosixPath, tuple[str, Placed]] = {}

    @property
    def placed(self) -> tuple[Placed, ...]:
        return tuple(placed for _, placed in self._placed.values())

    def bring(self, source: str, *, is_secret: bool = False) -> str:
        """Take a file along; return where it is on the board."""
        place = (_SECRETS if is_secret else SETTINGS_FOLDER) / _name_of(source)
        other, _ = self._placed.setdefault(place, (source, Placed(place, self._read(source), is_secret)))
        if other != source:
            raise CardError(f"{source} and {other}: two files of one name; rename one of them")
        return str(place)

    def bring_if_ours(self, source: str | None, *, is_secret: bool = False) -> str | None:
        """The same, unless there is none, or the path is absolute: that is the board's own file."""
        if source is None or source.startswith("/"):
            return source
        return self.bring(source, is_secret=is_secret)


def settings_on_card(
    settings: AgentSettings, read: ReadFile, token: bytes | None = None
) -> tuple[AgentSettings, tuple[Placed, ...]]:
    """Return settings with the paths of a board, and the files that lie there.

    Args:
        settings: as in the file, with paths relative to it.
        read: returns the content of such a path; raises CardError where it cannot.
        token: a claim token, with which the board enrols; it needs ``enrolment``.

    Raises:
        CardError: the settings contradict themselves, or what they name cannot be on a card.
    """
    named = settings.device.replace("*", _ANY_MACHINE, 1)
    problems = problems_of(msgspec.structs.replace(settings, device=named))
    if problems:
        raise CardError("\n".join(f"agent's settings: {problem}" for problem in problems))
    placing = _Placing(read)
    replace = msgspec.structs.replace
    enrolment = settings.enrolment
    if enrolment is not None:
        enrolment = replace(
            enrolment,
            ca=placing.bring(enrolment.ca),
            token_file=enrolment.token_file if token is None else str(TOKEN),
        )
    source = _tls_on_card(settings.source, placing)
    on_card = replace(
        settings,
        state=str(STATE_FOLDER),
        enrolment=enrolment,
        broker=_tls_on_card(settings.broker, placing),
        repository=replace(settings.repository, root=placing.bring(settings.repository.root)),
        source=replace(
            source,
            path=placing.bring_if_ours(source.path) if _is_brought(source) else _written(source.path),
            password_file=placing.bring_if_ours(source.password_file, is_secret=True),
        ),
        sink=replace(
            _tls_on_card(settings.sink, placing),
            path=_written(settings.sink.path),
            password_file=placing.bring_if_ours(settings.sink.password_file, is_secret=True),
        ),
    )
    brought = placing.placed if token is None else (*placing.placed, Placed(TOKEN, token, is_secret=True))
    return on_card, brought


def settings_text(settings: AgentSettings) -> str:
    """Return settings as a file that the agent reads; what has its default is left out."""
    table = _without_defaults(settings)
    head = "# Written with this card. Every key with its default: docs/guides/agent.md of Fieldloop.\n"
    return head + toml_text(table)


def _without_defaults(value: msgspec.Struct) -> dict[str, Value]:
    kept: dict[str, Value] = {}
    for each in msgspec.structs.fields(value):
        found = getattr(value, each.name)
        if found is None or (not each.required and found == each.default):
            continue
        kept[each.encode_name] = (
            _without_defaults(found) if isinstance(found, msgspec.Struct) else msgspec.to_builtins(found)
        )
    return kept


def _tls_on_card(place: PlaceT, placing: _Placing) -> PlaceT:
    return msgspec.structs.replace(
        place,
        ca=placing.bring_if_ours(place.ca),
        certificate=placing.bring_if_ours(place.certificate),
        key=placing.bring_if_ours(place.key, is_secret=True),
    )


def _is_brought(source: SourceSettings) -> bool:
    """Tell whether a source reads a file that is complete, so that it lies on the card."""
    if source.path == STDIN:
        raise CardError("source.path: nobody writes to a board's standard input; name a file, or another kind")
    return source.path is not None and (source.kind == "csv" or (source.kind == "json_lines" and not source.follow))


def _written(path: str | None) -> str | None:
    """Return where on the board something is that the agent, or another program there, makes."""
    if path is None or path == STDIN or path.startswith("/"):
        return path
    if ".." in PurePosixPath(path).parts:
        raise CardError(f"{path}: leads out of the agent's folder; give an absolute path, which is the board's")
    return str(STATE_FOLDER / path)


def _name_of(path: str) -> str:
    name = PurePosixPath(path).name
    if _NAME.fullmatch(name) is None:
        raise CardError(f"{path!r}: a file on a card has a name of letters, digits, '.', '_' and '-'")
    if name == "agent.toml":
        raise CardError(f"{path}: this name is that of the settings themselves; rename it")
    return name
