import pytest

from benchmarks.page import BEGIN, END, PAGE, render_area, with_figures
from benchmarks.report import compare

RATIOS = (
    compare("agent / bare", ours=6.0, peer=3.0, reach=1.5, unit="us", runs=9),
    compare("memory / theirs", ours=25.0, peer=12.5, reach=None, unit="MB", runs=10),
    compare("monitor / counter", ours=14000.4, peer=20000, reach=0.7, unit="records/s", runs=3, higher_is_better=True),
)


def test_the_figures_of_an_area_stand_in_a_table_with_what_was_not_met() -> None:
    text = render_area("agent", RATIOS, "a machine")
    assert text.startswith("### agent\nTaken on a machine.\n")
    assert "| agent / bare | 6 | 3 | us | 2 | 1.5 | **no** | 9 |" in text
    assert "| memory / theirs | 25 | 12.5 | MB | 2 | – | – | 10 |" in text
    assert "| monitor / counter | 14000 | 20000 | records/s | 0.7 | 0.7 | yes | 3 |" in text


def test_only_the_areas_that_were_run_are_replaced_and_all_stand_in_the_order_of_their_names() -> None:
    page = f"before\n{BEGIN}\n### loop\nold\n\n### wire\nkept\n{END}\nafter\n"
    made = with_figures(page, {"loop": "### loop\nnew\n", "agent": "### agent\nfirst\n"})
    assert made == f"before\n{BEGIN}\n### agent\nfirst\n\n### loop\nnew\n\n### wire\nkept\n{END}\nafter\n"


@pytest.mark.parametrize("page", ["", BEGIN + "\n", END, f"{END}\n{BEGIN}\n", f"{BEGIN}\n{END}\n{BEGIN}\n{END}\n"])
def test_a_page_without_its_two_marks_is_refused(page: str) -> None:
    with pytest.raises(ValueError, match="must hold"):
        with_figures(page, {})


def test_the_page_of_this_repository_takes_figures() -> None:
    assert "new figures" in with_figures(PAGE.read_text(encoding="utf-8"), {"agent": "### agent\nnew figures\n"})
