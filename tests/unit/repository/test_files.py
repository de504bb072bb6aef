import subprocess

import pytest


def test_no_file_holds_the_marks_of_a_merge_that_was_not_finished(repository):
    if not (repository / ".git").exists():
        pytest.skip("not a git checkout")
    marks = r"^(<<<<<<<|>>>>>>>|\|\|\|\|\|\|\|)( |$)"
    found = subprocess.run(
        ["git", "grep", "-nE", marks], cwd=repository, capture_output=True, text=True, check=False, timeout=60
    )
    assert not found.stdout
