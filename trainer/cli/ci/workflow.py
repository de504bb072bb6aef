"""Writes the text of a workflow for the user's own project: a template of the provider, filled in. Pure."""

import re
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, get_args

from trainer.pipeline.runs import STEPS
from trainer.project.registry import CHAMPION, STAGING, RegistrySection

Provider = Literal["github", "gitlab"]
PROVIDERS: Final = get_args(Provider)
# Where each provider looks for it, from the root of the repository.
PLACES: Final[dict[Provider, str]] = {"github": ".github/workflows/fieldloop.yml", "gitlab": ".gitlab-ci.yml"}
# Monday, at a minute at which not everybody begins.
USUAL_SCHEDULE: Final = "17 3 * * 1"
_PYTHON: Final = "3.12"
_OWN_STORE: Final = "build/features"
_REGISTER: Final = "fieldloop features register @VIEW_FILE@"
_SIGN: Final = re.compile(r"@([A-Z_]+)@")


@dataclass(frozen=True, slots=True)
class Wanted:
    """What of the project a workflow names.

    Attributes:
        folder: of the project, from the root of its repository; ``.``: the root itself.
        version: of fieldloop, that is installed.
        view_files: that declare features, from the project's folder.
        stages: what the project calls its stages.
        schedule: in the five fields of cron.
        rows: where those of the project come from: its files; the sources of its views, all of them declared in
            `view_files`; or the store alone, where devices or people push them.
        variables: of the environment, that hold addresses of databases.
    """

    folder: str
    version: str
    view_files: tuple[str, ...]
    stages: RegistrySection
    schedule: str = USUAL_SCHEDULE
    rows: Literal["files", "sources", "store"] = "files"
    variables: tuple[str, ...] = ()


def workflow_text(provider: Provider, wanted: Wanted) -> str:
    """Return the text of the workflow."""
    install = shlex.quote(f"fieldloop[all]=={wanted.version}")
    words = {
        "CHAMPION": wanted.stages.alias_of(CHAMPION),
        "STAGING": wanted.stages.alias_of(STAGING),
        "FIRST_STEP": STEPS[0],
        "OTHER_STEPS": " ".join(STEPS[1:]),
        "FOLDER": wanted.folder,
        "INSTALL": f"pip install {install}",
        "PYTHON": _PYTHON,
        "SCHEDULE": wanted.schedule,
        # In the job that tests a change nothing of others is written: it has a store of its own, or only reads theirs.
        "SAMPLE_OF": {"files": "", "sources": f" --store {_OWN_STORE}", "store": " --stored"}[wanted.rows],
        "OWN_STORE": _OWN_STORE,
    }
    lines = []
    template = Path(__file__).with_name(f"{provider}.yml").read_text(encoding="utf-8")
    tested = wanted.view_files if wanted.rows == "sources" else ()
    template = _with_views(template, tested, f"{_REGISTER} --store @OWN_STORE@")
    template = _with_secrets(template, wanted)
    for line in _with_views(template, wanted.view_files, _REGISTER).splitlines():
        if wanted.folder == "." and line.strip() == '- cd "@FOLDER@"':
            continue
        lines.append(_SIGN.sub(lambda sign: words[sign[1]], line))
    return "\n".join(lines) + "\n"


def _with_secrets(template: str, wanted: Wanted) -> str:
    """Fill in the variables that a job gets from the provider's secrets; GitLab gives all of them to every job."""
    of_test = (*(("FIELDLOOP_STORES_FEATURES",) if wanted.rows == "store" else ()), *wanted.variables)

    def lines(names: tuple[str, ...], indent: str) -> str:
        return "".join(f"{indent}{name}: ${{{{ secrets.{name} }}}}\n" for name in names)

    env = f"    env:\n{lines(of_test, ' ' * 6)}" if of_test else ""
    return template.replace("    @TEST_ENV@\n", env).replace("      @TRAIN_ENV@\n", lines(wanted.variables, " " * 6))


def _with_views(template: str, view_files: tuple[str, ...], one: str) -> str:
    """Fill in the commands that declare views, in place of one: one for each file, or none at all."""
    commands = [one.replace("@VIEW_FILE@", shlex.quote(name)) for name in view_files]
    # GitHub: a step of a name and one command; GitLab: a line of a script.
    step = re.compile(rf"^( *)- name: (.*)\n *run: {re.escape(one)}\n", re.MULTILINE)

    def github(found: re.Match[str]) -> str:
        if not commands:
            return ""
        inner = "".join(f"{found[1]}    {command}\n" for command in commands)
        return f"{found[1]}- name: {found[2]}\n{found[1]}  run: |\n{inner}"

    template = step.sub(github, template)
    return re.sub(
        rf"^( *- ){re.escape(one)}\n",
        lambda found: "".join(f"{found[1]}{command}\n" for command in commands),
        template,
        flags=re.MULTILINE,
    )
