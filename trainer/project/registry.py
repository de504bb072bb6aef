"""What the stages of a model are called, and which of them a person must approve: the section ``[registry]``."""

from typing import Annotated, Final

from msgspec import Meta

from trainer.project.section import Section

STAGING: Final = "staging"
CHALLENGER: Final = "challenger"
CHAMPION: Final = "champion"
PREVIOUS: Final = "previous"
# In the order of a version's life.
STAGES: Final = (STAGING, CHALLENGER, CHAMPION, PREVIOUS)

# MLflow takes no capital surprise, no "latest" and no "v3" as an alias.
StageName = Annotated[str, Meta(pattern="^(?!latest$)(?!v[0-9]+$)[a-z][a-z0-9_-]{0,62}$")]


class RegistrySection(Section, frozen=True, kw_only=True):
    """The stages of a model's versions: their names are MLflow's aliases, and yours to choose.

    Attributes:
        staging: name of the stage of a version that passed the gate and waits for a person.
        challenger: name of the stage of a version that is being compared with the champion.
        champion: name of the stage of the version that the fleet should run.
        previous: name of the stage of the version that was the champion before; a rollback returns to it.
        approval: the stages to which only a person promotes, by these four words: with ``champion`` in it, a run that
            passes the gate leaves its version in staging, and devices keep what they run.
    """

    staging: StageName = STAGING
    challenger: StageName = CHALLENGER
    champion: StageName = CHAMPION
    previous: StageName = PREVIOUS
    approval: tuple[str, ...] = ()

    def alias_of(self, stage: str) -> str:
        """Return the project's name of a stage; any other word is an alias by itself."""
        return str(getattr(self, stage)) if stage in STAGES else stage

    def stage_of(self, word: str) -> str | None:
        """Return the stage that a word of ours or of the project's names; None for another word."""
        by_name = {self.alias_of(stage): stage for stage in STAGES}
        return by_name.get(word) or (word if word in STAGES else None)


def registry_problems(section: RegistrySection) -> list[str]:
    """List what contradicts itself in the section."""
    names = [section.alias_of(stage) for stage in STAGES]
    twice = sorted({name for name in names if names.count(name) > 1})
    problems = [f"key 'registry': two stages are called {twice[0]!r}"] if twice else []
    for stage, name in zip(STAGES, names, strict=True):
        if name in STAGES and name != stage:
            problems.append(f"key 'registry.{stage}': {name!r} is our word for another stage; choose another")
    allowed = (STAGING, CHALLENGER, CHAMPION)
    unknown = [stage for stage in section.approval if stage not in allowed]
    if unknown:
        problems.append(f"key 'registry.approval': {unknown[0]!r} is no stage; there are: {', '.join(allowed)}")
    return problems
