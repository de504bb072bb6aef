"""Reads a page of Markdown as the steps that its reader would take.

The page says what is done with a block:

- a block marked ``sh`` is run, and must succeed;
- ``<!-- run: background -->`` before it: it goes on until the page ends; with ``background until "TEXT"`` what follows
  waits until it has said so;
- ``<!-- run: again until "TEXT" -->``: it is run again and again until it says so;
- ``<!-- run: fails -->``: it must fail;
- ``<!-- run: skip: REASON -->``: it is not run;
- ``<!-- file: NAME -->`` before a block of any language: the block is the content of that file;
- ``<!-- new folder -->``: what follows happens in an empty folder, and what runs in the background ends;
- a comment that starts with ``<!-- before`` holds commands that are run and not shown, for what a reader brings along.
"""

import re
from dataclasses import dataclass
from typing import Final, Literal

Kind = Literal["run", "background", "again", "fails", "skip", "file", "folder"]

_FENCE: Final = re.compile(r"^(?P<fence>```+)(?P<language>\S*)\s*$")
_COMMENT: Final = re.compile(r"^<!-- (?P<word>run|file): (?P<rest>.+?) -->$")
_UNTIL: Final = re.compile(r'^(?P<how>background|again) until "(?P<text>[^"]+)"$')
_SKIP: Final = re.compile(r"^skip: (?P<reason>\S.+)$")
_FILE: Final = re.compile(r"^[\w./-]+$")
_BEFORE: Final = "<!-- before"
_NEW_FOLDER: Final = "<!-- new folder -->"
_OURS: Final = ("<!-- run", "<!-- file", "<!-- new", _BEFORE)


class PageError(ValueError):
    """A page does not follow the convention."""


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a page.

    Attributes:
        text: commands, or the content of a file.
        line: of the page, where it begins.
        detail: background and again: the text to wait for; skip: the reason; file: its name.
    """

    kind: Kind
    text: str
    line: int
    detail: str = ""


def parse_page(text: str) -> tuple[Step, ...]:
    """Return the steps of a page in their order.

    Raises:
        PageError: a comment that says nothing known, or stands before no block; a block that does not end.
    """
    steps: list[Step] = []
    said: tuple[Kind, str] | None = None
    lines = enumerate(text.splitlines(), start=1)
    for number, line in lines:
        if line == _NEW_FOLDER:
            steps.append(Step("folder", "", number))
        elif line == _BEFORE:
            steps.append(Step("run", _until(lines, "-->", number), number))
        elif line.startswith("<!-- "):
            said = _meaning_of(line, number) or said
        elif fence := _FENCE.match(line):
            content = _until(lines, fence["fence"], number)
            if said is not None:
                steps.append(Step(said[0], content, number, said[1]))
            elif fence["language"] == "sh":
                steps.append(Step("run", content, number))
            said = None
        elif line.strip() and said is not None:
            raise PageError(f"line {number}: the comment above stands before no block")
    if said is not None:
        raise PageError("the last comment stands before no block")
    return tuple(steps)


def _meaning_of(line: str, number: int) -> tuple[Kind, str] | None:
    """Return what a comment says of the next block; None for a comment that is not ours."""
    if not line.startswith(_OURS):
        return None
    comment = _COMMENT.match(line)
    word, rest = (comment["word"], comment["rest"]) if comment else ("", "")
    meaning: tuple[Kind, str] | None = None
    if word == "file" and _FILE.match(rest):
        meaning = "file", rest
    elif word == "run" and rest == "fails":
        meaning = "fails", ""
    elif word == "run" and rest == "background":
        meaning = "background", ""
    elif word == "run" and (until := _UNTIL.match(rest)):
        meaning = ("again" if until["how"] == "again" else "background"), until["text"]
    elif word == "run" and (skip := _SKIP.match(rest)):
        meaning = "skip", skip["reason"]
    if meaning is None:
        raise PageError(f"line {number}: {line!r} is not one of the known comments")
    return meaning


def _until(lines: "enumerate[str]", end: str, begin: int) -> str:
    content: list[str] = []
    for _, line in lines:
        if line == end:
            return "\n".join(content) + "\n"
        content.append(line)
    raise PageError(f"line {begin}: what begins here does not end")
