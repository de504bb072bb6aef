import pytest

from trainer.demo.folder import make_folder
from trainer.errors import DataError


def test_an_earlier_demo_is_replaced(tmp_path):
    folder = tmp_path / "demo"
    make_folder(folder)
    (folder / "summary.json").write_text("{}")
    make_folder(folder)
    assert not (folder / "summary.json").exists()


def test_a_folder_with_something_else_is_left_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(DataError, match="not empty"):
        make_folder(tmp_path)
    assert (tmp_path / "thesis.tex").exists()
