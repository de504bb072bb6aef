from pathlib import Path
from textwrap import dedent

import pytest

from trainer.pipeline.sources import Code, Sources
from trainer.pipeline.steps import PRODUCTION

FILES = {
    "trainer/__init__.py": "",
    "trainer/pipeline/__init__.py": "import tomllib",
    "trainer/pipeline/step.py": """\
        from typing import TYPE_CHECKING

        import numpy as np

        from exporter import forms
        from trainer.pipeline.near import value

        if TYPE_CHECKING:
            import pandas
            from trainer.pipeline.types_only import Kind
        else:
            from trainer.pipeline import otherwise

        def late():
            try:
                from ..deep.inner import thing
            except ImportError:
                import unheard_of
    """,
    "trainer/pipeline/near.py": "import trainer.pipeline.step  # round in a circle",
    "trainer/pipeline/otherwise.py": "",
    "trainer/pipeline/types_only.py": "",
    "trainer/pipeline/apart.py": "import sklearn.tree",
    "trainer/deep/__init__.py": "",
    "trainer/deep/inner.py": "thing = 1",
    "exporter/__init__.py": "",
    "exporter/forms/__init__.py": "from exporter.forms.onnx import form",
    "exporter/forms/onnx.py": "form = 1",
    "exporter/forms/src/form.c": "int form;",
    "exporter/apart.py": "",
}


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name, text in FILES.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(dedent(text))
    return tmp_path


def code_in(tree: Path, module: str = "trainer.pipeline.step") -> Code:
    return Sources({name: tree / name for name in ("trainer", "exporter")}).code_of([module])


@pytest.mark.parametrize(
    ("file", "counts"),
    [
        ("trainer/pipeline/step.py", True),
        ("trainer/pipeline/near.py", True),
        ("trainer/pipeline/otherwise.py", True),
        ("trainer/pipeline/__init__.py", True),
        ("trainer/deep/__init__.py", True),
        ("trainer/deep/inner.py", True),
        ("exporter/forms/__init__.py", True),
        ("exporter/forms/onnx.py", True),
        ("exporter/forms/src/form.c", True),
        ("trainer/pipeline/types_only.py", False),
        ("trainer/pipeline/apart.py", False),
        ("exporter/apart.py", False),
    ],
)
def test_what_a_module_imports_of_ours_counts_and_nothing_else(tree: Path, file: str, *, counts: bool) -> None:
    before = code_in(tree)
    with (tree / file).open("a") as source:
        source.write("\n\n")
    assert (code_in(tree).digest != before.digest) is counts


def test_the_packages_of_others_are_named_with_their_versions(tree: Path) -> None:
    packages = code_in(tree).packages
    assert list(packages) == ["python", "numpy", "unheard_of"]
    assert packages["numpy"][0].isdecimal()
    assert packages["unheard_of"] == "absent"
    assert list(code_in(tree, "trainer.pipeline.apart").packages) == ["python", "scikit-learn"]


def test_the_code_of_a_step_is_no_more_than_what_it_imports() -> None:
    sources = Sources()
    codes = {step.name: sources.code_of(step.modules) for step in PRODUCTION.order}
    assert "onnxruntime" in codes["export"].packages
    assert "optuna" not in codes["gate"].packages
    assert "optuna" not in codes["extract"].packages
    for package in ("scikit-learn", "numpy", "optuna", "skops"):
        assert codes["train"].packages[package][0].isdecimal()
