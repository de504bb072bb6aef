import io
import json
from pathlib import Path

import msgspec
import pytest
from rich.console import Console

from benchmarks.report import compare, load_area, print_area, write_area


def test_a_ratio_is_ours_over_the_peers_and_should_stay_below_its_reach() -> None:
    ratio = compare("row", ours=3.0, peer=2.0, reach=1.5, unit="us", runs=30)
    assert (ratio.ratio, ratio.met) == (1.5, True)
    assert not compare("row", ours=3.1, peer=2.0, reach=1.5, unit="us", runs=30).met


def test_a_ratio_of_speeds_should_stay_above_its_reach() -> None:
    assert compare("records", ours=8.0, peer=10.0, reach=0.8, unit="1/s", runs=3, higher_is_better=True).met
    assert not compare("records", ours=7.9, peer=10.0, reach=0.8, unit="1/s", runs=3, higher_is_better=True).met


@pytest.mark.parametrize("peer", [0.0, -1.0, float("nan")])
def test_a_peer_without_a_positive_value_is_refused(peer: float) -> None:
    with pytest.raises(ValueError, match="positive"):
        compare("row", ours=1.0, peer=peer, reach=1.0, unit="us", runs=1)


def test_a_value_from_no_run_is_refused() -> None:
    with pytest.raises(ValueError, match="one run at least"):
        compare("row", ours=1.0, peer=1.0, reach=1.0, unit="us", runs=0)


def test_an_area_is_written_as_a_list_with_the_agreed_keys_and_read_back(tmp_path: Path) -> None:
    ratios = [compare("row", ours=3.0, peer=2.0, reach=1.0, unit="us", runs=30)]
    path = write_area("agent", ratios, tmp_path / "bench")
    assert path == tmp_path / "bench" / "agent.json"
    assert json.loads(path.read_text()) == [
        {"name": "row", "ours": 3.0, "peer": 2.0, "ratio": 1.5, "reach": 1.0, "met": False, "unit": "us", "runs": 30}
    ]
    assert load_area(path) == ratios


def test_a_result_of_another_form_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "agent.json"
    path.write_text('[{"name": "row"}]')
    with pytest.raises(msgspec.ValidationError):
        load_area(path)


def test_the_table_says_what_was_not_met() -> None:
    text = io.StringIO()
    ratios = [
        compare("row", ours=3.0, peer=2.0, reach=1.0, unit="us", runs=30),
        compare("start", ours=1.0, peer=2.0, reach=1.0, unit="ms", runs=5),
        compare("memory", ours=2.0, peer=1.0, reach=None, unit="MB", runs=5),
    ]
    print_area("agent", ratios, Console(file=text, width=120))
    rows = {line.split("│")[1].strip(): line for line in text.getvalue().splitlines() if "│" in line}
    assert "NOT MET" in rows["row"]
    assert "yes" in rows["start"]
    assert not {"yes", "NOT"} & set(rows["memory"].split())
    assert "bench agent" in text.getvalue()
