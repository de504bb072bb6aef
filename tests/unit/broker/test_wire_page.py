"""docs/wire.md shows the limits and messages as they are."""

from tests.unit.broker.wire_examples import PAGE, render_page


def test_the_page_shows_what_the_command_prints_now():
    page = PAGE.read_text(encoding="utf-8")
    assert page == render_page(page), "run: python -m tests.unit.broker.wire_examples"
