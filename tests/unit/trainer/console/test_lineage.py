"""What came from what, followed from any place both ways."""

import xml.etree.ElementTree as ET
from dataclasses import replace

import pytest
from rich.console import Console

from trainer.console.lineage import Lineage, Node, Version, join_lineage
from trainer.console.lineage_drawing import lineage_mermaid, lineage_svg, lineage_tree
from trainer.errors import RegistryError
from trainer.features.views.use import ViewUse

_RUNS = [f"{digit}{digit}beef{'0' * 26}" for digit in "1234"]


def version(number: int, features: tuple[str, ...], data: str, *, bundle: bool = True) -> Version:
    name = f"quality-{number}" if bundle else None
    return Version(f"quality/{number}", _RUNS[number - 1], "manual", "champion", features, data * 32, name)


@pytest.fixture
def lineage() -> Lineage:
    """Versions 1 and 2 of the same rows, 3 of others with one more feature and no bundle."""
    return join_lineage(
        [
            version(1, ("pressure",), "ab"),
            version(2, ("pressure",), "ab"),
            version(3, ("pressure", "noise"), "cd", bundle=False),
        ],
        ["quality-2"],
        {"pump-1": "quality-2", "pump-2": "quality-1", "pump-3": "other-9"},
    )


def names(part: Lineage) -> set[str]:
    return {node.key for node in part.nodes}


def test_a_model_comes_from_its_rows_and_goes_to_its_devices_and_to_no_others(lineage: Lineage) -> None:
    assert names(lineage.around(lineage.find("model:quality/2"))) == {
        "feature:pressure",
        f"data:{'ab' * 32}",
        f"run:{_RUNS[1]}",
        "model:quality/2",
        "bundle:quality-2",
        "device:pump-1",
    }


def test_a_feature_is_followed_to_every_model_that_uses_it(lineage: Lineage) -> None:
    models = [node.name for node in lineage.around(lineage.find("noise")).nodes if node.kind == "model"]
    assert models == ["quality/3"]
    models = [node.name for node in lineage.around(lineage.find("pressure")).nodes if node.kind == "model"]
    assert models == ["quality/1", "quality/2", "quality/3"]


def test_the_same_rows_are_followed_to_the_runs_that_used_them(lineage: Lineage) -> None:
    part = lineage.around(lineage.find("abab"))
    assert {node.name for node in part.nodes if node.kind == "run"} == {_RUNS[0], _RUNS[1]}


def test_a_device_tells_what_its_model_is_made_of(lineage: Lineage) -> None:
    assert "model:quality/1" in names(lineage.around(lineage.find("pump-2")))
    assert names(lineage.around(lineage.find("pump-3"))) == {"device:pump-3", "bundle:other-9"}
    assert {node.name: node.about for node in lineage.nodes if node.kind == "bundle"} == {
        "quality-1": "not published",
        "quality-2": "published",
        "other-9": "not published",
    }


def test_a_run_is_named_by_how_it_begins(lineage: Lineage) -> None:
    assert lineage.find("33beef") == Node("run", _RUNS[2])
    with pytest.raises(RegistryError, match="is no model, feature"):
        lineage.find("33b")
    with pytest.raises(RegistryError, match="is no model, feature"):
        lineage.find("nothing")


def test_a_name_of_two_kinds_is_asked_for_by_kind() -> None:
    both = join_lineage([version(1, ("pump",), "ab")], [], {"pump": "quality-1"})
    with pytest.raises(RegistryError, match="may be feature:pump or device:pump"):
        both.find("pump")
    assert both.find("device:pump").kind == "device"


def test_a_view_stands_before_its_features_and_a_view_of_labels_before_the_rows() -> None:
    first = ViewUse("hourly", 1, (("load", "hourly__load"),))
    second = ViewUse("hourly", 2, (("load", "hourly__load"), ("parts", "parts")))
    labels = ViewUse("truths", 1, (("quality", "quality"),), is_label=True)
    one = replace(version(1, ("hourly__load",), "ab"), views=(first,))
    two = replace(version(2, ("hourly__load", "parts"), "cd"), views=(second, labels))
    both = join_lineage([one, two], [], {})
    assert [(node.name, node.about) for node in both.nodes if node.kind == "view"] == [
        ("hourly", "version 1, 2"),
        ("truths", "version 1"),
    ]
    assert both.find("hourly:load") == both.find("hourly__load") == Node("feature", "hourly__load")
    assert both.upstream(Node("feature", "parts")) == (Node("view", "hourly"),)
    assert both.upstream(Node("data", "cd" * 32))[-1] == Node("view", "truths")
    assert names(both.around(Node("view", "truths"))) >= {"model:quality/2"}
    assert "model:quality/1" not in names(both.around(Node("view", "truths")))
    with pytest.raises(RegistryError, match="is no model, feature, view"):
        both.find("hourly:weight")


def test_the_tree_shows_both_directions(lineage: Lineage) -> None:
    console = Console(width=120, record=True, file=None, force_terminal=False, quiet=False)
    with console.capture() as capture:
        console.print(lineage_tree(lineage, lineage.find("model:quality/2")))
    text = capture.get()
    above, _, below = text.partition("became")
    assert above.index("made of") < above.index("run 22beef") < above.index("data abab") < above.index("pressure")
    assert below.index("bundle quality-2") < below.index("device pump-1")


def test_pictures_hold_every_thing_and_every_line_whatever_it_is_called(lineage: Lineage) -> None:
    named = join_lineage([version(1, ('a"<b>&',), "ab")], [], {})
    for each in (lineage, named):
        mermaid = lineage_mermaid(each)
        assert mermaid.count(" --> ") == len(each.edges)
        assert mermaid.count(":::") == len(each.nodes)
        picture = ET.fromstring(lineage_svg(each))  # noqa: S314 - our own
        assert len([part for part in picture.iter() if part.tag.endswith("}path")]) == len(each.edges)
        titles = {part.text for part in picture.iter() if part.tag.endswith("}title")}
        assert titles == names(each)


def test_texts_of_a_picture_stay_within_their_boxes() -> None:
    long = replace(version(1, ("a feature of many words, too many for a box",), "ab"), about="refused: " * 9)
    picture = ET.fromstring(lineage_svg(join_lineage([long], [], {})))  # noqa: S314 - our own
    boxes = [float(part.get("width", 0)) for part in picture.iter() if part.tag.endswith("}rect") and part.get("rx")]
    texts = [part for part in picture.iter() if part.tag.endswith("}text") and part.text]
    assert max(len(part.text or "") for part in texts) > 24
    for part in texts:
        # Letters of a usual face are six tenths of their size wide at most on average.
        assert 10 + 0.6 * float(part.get("font-size", 12)) * len(part.text or "") <= min(boxes) - 10
