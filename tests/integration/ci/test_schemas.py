"""The workflows that ``fieldloop init --ci`` writes are what their providers take, by the providers' own schemas."""

import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from trainer.cli.ci.workflow import PROVIDERS, Provider, Wanted, workflow_text
from trainer.project.registry import RegistrySection

SCHEMAS: Final[dict[Provider, tuple[str, ...]]] = {
    "github": ("--builtin-schema", "vendor.github-workflows"),
    "gitlab": ("--builtin-schema", "vendor.gitlab-ci", "--data-transform", "gitlab-ci"),
}
# A word that the provider would not know, in place of one that it does.
BROKEN: Final[dict[Provider, tuple[str, str]]] = {
    "github": ("runs-on:", "run-on:"),
    "gitlab": ("  script:", "  scripts:"),
}


def checked(provider: Provider, text: str, folder: Path) -> subprocess.CompletedProcess[str]:
    path = folder / "workflow.yml"
    path.write_text(text, encoding="utf-8")
    command = [sys.executable, "-m", "check_jsonschema", *SCHEMAS[provider], str(path)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("folder", [".", "models/pump"])
@pytest.mark.parametrize("views", [(), ("views.toml", "more views.toml")])
@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_workflow_fits_its_providers_schema(
    provider: Provider, views: tuple[str, ...], folder: str, tmp_path: Path
) -> None:
    text = workflow_text(provider, Wanted(folder, "1.2.3", views, RegistrySection(), "5 4 * * 2"))
    done = checked(provider, text, tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    before, after = BROKEN[provider]
    assert checked(provider, text.replace(before, after), tmp_path).returncode == 1
