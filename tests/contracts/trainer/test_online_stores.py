"""What every store of online features does, in a file of this machine and on a server."""

from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from threading import Thread

import pytest

from trainer.errors import DataError
from trainer.features.online.lookup import OnlineRow, OnlineStore, Progress
from trainer.features.online.opening import open_online

Opener = Callable[[], OnlineStore]
_NUMBERS = count()


@pytest.fixture(params=["sqlite", "postgresql"])
def opener(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Opener]:
    address = f"sqlite:///{tmp_path / 'online.db'}"
    if request.param == "postgresql":
        address = request.getfixturevalue("postgres").new_database(f"online_{next(_NUMBERS)}")
    opened: list[OnlineStore] = []

    def open_one() -> OnlineStore:
        opened.append(open_online(address))
        return opened[-1]

    yield open_one
    for each in opened:
        each.close()


def row(key: str, event: int, known: int = 0, part: int = 0, values: bytes = b"v") -> OnlineRow:
    return OnlineRow(key, event, known, part, values)


def test_what_was_put_is_found_by_another_who_opens_it(opener: Opener) -> None:
    opener().put("view", [row("a", 1, values=b"\x00\xff"), row("b", 2)], Progress(3, (4, 5), 6, (7,), "b"))
    other = opener()
    assert other.find("view", "a") == (1, b"\x00\xff")
    assert other.progress("view") == Progress(3, (4, 5), 6, (7,), "b")


def test_views_and_keys_are_told_apart(opener: Opener) -> None:
    store = opener()
    store.put("view", [row("a", 1)], Progress())
    assert store.find("view", "A") is None
    assert store.find("other", "a") is None
    assert store.progress("other") == Progress()


def test_many_are_found_at_once_and_what_is_not_there_is_left_out(opener: Opener) -> None:
    store = opener()
    store.put("view", [row(key, number, values=b"\x00\xff") for number, key in enumerate("abc")], Progress())
    store.put("other", [row("d", 1)], Progress())
    assert store.find_many("view", ["c", "a", "d"]) == {"a": (0, b"\x00\xff"), "c": (2, b"\x00\xff")}
    assert store.find_many("view", []) == {}


@pytest.mark.parametrize("older", [row("a", 1, 9, 9, b"old"), row("a", 2, 1, 9, b"old"), row("a", 2, 2, 1, b"old")])
def test_a_newer_row_stays_whichever_comes_first(opener: Opener, older: OnlineRow) -> None:
    store, newer = opener(), row("a", 2, 2, 2, b"new")
    for number, order in enumerate(([older, newer], [newer, older])):
        for each in order:
            store.put(f"view{number}", [each], Progress())
        assert store.find(f"view{number}", "a") == (2, b"new")


def test_rows_and_how_far_they_are_appear_together_or_not_at_all(opener: Opener) -> None:
    store = opener()
    store.put("view", [row("a", 1)], Progress(1))
    broken = OnlineRow("b", None, 0, 0, b"")  # type: ignore[arg-type]
    with pytest.raises(DataError):
        store.put("view", [row("c", 1), broken], Progress(2))
    assert store.find("view", "c") is None
    assert store.progress("view") == Progress(1)


def test_threads_may_ask_while_one_writes(opener: Opener) -> None:
    store = opener()
    store.put("view", [row("a", 0)], Progress())
    seen: list[int] = []

    def ask() -> None:
        for _ in range(50):
            found = store.find("view", "a")
            assert found is not None
            seen.append(found[0])

    threads = [Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    for number in range(1, 30):
        store.put("view", [row("a", number)], Progress(number))
    for thread in threads:
        thread.join()
    assert len(seen) == 150
    assert store.find("view", "a") == (29, b"v")


def test_an_address_of_another_kind_is_refused_without_its_password() -> None:
    with pytest.raises(DataError, match="no address of online features") as refusal:
        open_online("redis://me:secret@host/0")
    assert "secret" not in str(refusal.value)
