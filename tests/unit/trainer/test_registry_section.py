"""The section ``[registry]``: a project's own names of the stages."""

from pathlib import Path

import pytest

from tests.unit.trainer.cli.projects import write_small_project
from trainer.errors import ProjectError
from trainer.project.loading import load_project
from trainer.project.registry import CHAMPION, STAGING, RegistrySection


def with_registry(folder: Path, text: str) -> Path:
    """Write a small project with a section of stages."""
    write_small_project(folder)
    file = folder / "fieldloop.toml"
    file.write_text(file.read_text() + f"\n[registry]\n{text}\n")
    return folder


def test_a_stage_has_the_name_that_the_project_gives_it(tmp_path: Path) -> None:
    section = load_project(with_registry(tmp_path, 'champion = "live"\napproval = ["champion"]')).project.registry
    assert (section.alias_of(CHAMPION), section.alias_of(STAGING), section.alias_of("other")) == (
        "live",
        "staging",
        "other",
    )
    assert (section.stage_of("live"), section.stage_of(CHAMPION), section.stage_of("other")) == (
        CHAMPION,
        CHAMPION,
        None,
    )
    assert section.approval == (CHAMPION,)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ('champion = "previous"', "two stages are called 'previous'"),
        ('champion = "staging"\nstaging = "champion"', "is our word for another stage"),
        ('champion = "latest"', "registry.champion"),
        ('staging = "v3"', "registry.staging"),
        ('approval = ["live"]', "'live' is no stage; there are: staging, challenger, champion"),
    ],
)
def test_names_that_say_two_things_are_refused(text: str, named: str, tmp_path: Path) -> None:
    with pytest.raises(ProjectError, match=named):
        load_project(with_registry(tmp_path, text))


def test_every_stage_keeps_our_word_for_it_unless_it_is_renamed() -> None:
    section = RegistrySection()
    assert [section.alias_of(stage) for stage in ("staging", "challenger", "champion", "previous")] == [
        "staging",
        "challenger",
        "champion",
        "previous",
    ]
