"""Whence a card has its claim token."""

from pathlib import Path

import pytest
import typer

from exporter.image.claims import TokenMaker, claim_of
from exporter.image.errors import CardError

app = typer.Typer()


@app.command()
def build() -> None:
    """Stand for a command of this floor."""


def context(made: list[tuple[Path, str]] | None) -> typer.Context:
    """Return a command's context: of `fieldloop`, or of this floor alone."""

    def make(fleet: Path, device: str) -> str:
        assert made is not None
        made.append((fleet, device))
        return f"token-of-{device}"

    return typer.Context(typer.main.get_command(app), obj=None if made is None else TokenMaker(make))


def test_a_token_that_is_made_is_in_a_private_file_for_the_time_of_the_command():
    made: list[tuple[Path, str]] = []
    with claim_of(context(made), None, Path("fleet"), "press-7") as file:
        assert file is not None
        assert file.read_text() == "token-of-press-7\n"
        assert file.stat().st_mode & 0o077 == 0
    assert not file.exists()
    assert made == [(Path("fleet"), "press-7")]


def test_without_a_fleet_the_file_that_was_named_counts():
    with claim_of(context(None), Path("claim-token"), None, None) as file:
        assert file == Path("claim-token")


@pytest.mark.parametrize(
    ("claim", "device", "told"),
    [
        (Path("claim-token"), "press-7", "one of them"),
        (None, None, "--device"),
        (None, "press-*", "--uses"),
    ],
)
def test_options_that_do_not_go_together_make_no_token(claim: Path | None, device: str | None, told: str):
    made: list[tuple[Path, str]] = []
    with pytest.raises(CardError, match=told), claim_of(context(made), claim, Path("fleet"), device):
        pass
    assert made == []


def test_without_the_floor_that_knows_fleets_a_file_is_asked_for():
    with pytest.raises(CardError, match="--claim"), claim_of(context(None), None, Path("fleet"), "press-7"):
        pass
