"""What ``fieldloop serve`` is asked to do beside answering: options that do not fit together are told."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.bundles import make_bundle
from tests.looked_up import write_views
from trainer.cli.application import app
from trainer.errors import DataError


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return make_bundle(tmp_path_factory.mktemp("bundle"))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--from-topic", "rows"), "--from-topic and --to-topic belong together"),
        (("--from-topic", "rows", "--to-topic", "out", "--broker", "nowhere"), "expected HOST:PORT"),
        (("--report-as", "serve 1", "--fleet", "plant"), "serve 1"),
        (("--report-as", "serve-1"), "no project says which fleet"),
        (("--report-as", "serve-1", "--fleet", "plant", "--ca", "ca.pem"), "belong together"),
    ],
)
def test_options_that_do_not_fit_together_are_told(bundle, tmp_path, monkeypatch, options, said):
    monkeypatch.chdir(tmp_path)
    told = CliRunner(env={"COLUMNS": "300"}).invoke(app, ["serve", str(bundle), "--port", "0", *options])
    assert (told.exit_code, said in told.output) == (2, True)


def test_a_view_that_is_not_there_is_told(bundle, tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert CliRunner().invoke(app, ["features", "register", str(write_views(tmp_path))]).exit_code == 0
    told = CliRunner().invoke(app, ["serve", str(bundle), "--port", "0", "--look-up", "machine"])
    assert (told.exit_code, "did you mean 'machines'?" in told.output) == (DataError.exit_code, True)
