"""The time of the sources decides the bytes of a package."""

import pytest

from scripts.deb.build import main, source_time_s


def test_a_time_that_is_named_is_taken():
    assert source_time_s({"SOURCE_DATE_EPOCH": "1790000000"}) == 1_790_000_000


def test_without_a_name_and_without_git_the_time_is_fixed(tmp_path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    assert source_time_s({}) == 0


def test_an_unknown_architecture_is_refused(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit):
        main(["mips"])
    assert "amd64" in capsys.readouterr().err
