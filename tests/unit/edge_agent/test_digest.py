"""The hash of a file does not hang on which code computes it."""

import hashlib
import subprocess
import sys
from pathlib import Path

import pytest

from edge_agent.digest import SMALL_BYTES, sha256_of, sha256_of_file


@pytest.mark.parametrize("size_bytes", [0, 1, 64, 5000, SMALL_BYTES, SMALL_BYTES + 1])
def test_it_is_that_of_hashlib(tmp_path: Path, size_bytes: int):
    data = bytes(n * 7 % 251 for n in range(size_bytes))
    path = tmp_path / "file"
    path.write_bytes(data)
    assert sha256_of(data) == sha256_of_file(path, size_bytes) == hashlib.sha256(data).hexdigest()


def test_little_is_hashed_without_openssl_and_much_with_it():
    program = """
import sys
from edge_agent.digest import SMALL_BYTES, sha256_of
small = sha256_of(b"x" * 1000)
print("_hashlib" in sys.modules)
sha256_of(b"x" * (SMALL_BYTES + 1))
print("_hashlib" in sys.modules, sha256_of(b"x" * 1000) == small)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=30)
    assert done.stdout.split() == ["False", "True", "True"]
