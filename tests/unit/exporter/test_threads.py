"""What bounds the threads of native libraries finds them once, and those that come later too."""

import subprocess
import sys

import numpy as np
import pytest
from threadpoolctl import ThreadpoolController, threadpool_info, threadpool_limits

from exporter import threads
from exporter.threads import one_thread

assert np.ones(1).sum() == 1.0  # its BLAS is loaded


def counts(library):
    return {found["filepath"]: found["num_threads"] for found in threadpool_info() if found["user_api"] == library}


def test_it_holds_until_its_context_ends():
    with threadpool_limits(2, user_api="blas"):
        before = counts("blas")
        assert set(before.values()) == {2}
        with one_thread("blas"):
            assert set(counts("blas").values()) == {1}
            with one_thread():
                assert set(counts("blas").values()) == {1}
            assert set(counts("blas").values()) == {1}
        assert counts("blas") == before


def test_it_can_be_taken_back_by_hand():
    with threadpool_limits(2, user_api="blas"):
        limit = one_thread("blas")
        assert set(counts("blas").values()) == {1}
        limit.restore_original_limits()
        assert set(counts("blas").values()) == {2}


def test_libraries_are_looked_for_once(monkeypatch):
    found = []

    def find():
        found.append(1)
        return ThreadpoolController()

    monkeypatch.setattr(threads, "ThreadpoolController", find)
    threads._controller.cache_clear()
    for _ in range(5):
        with one_thread("blas"):
            pass
    assert len(found) == 1


def test_a_library_that_comes_later_is_found():
    code = (
        "import numpy\n"
        "from threadpoolctl import threadpool_info\n"
        "from exporter.threads import one_thread\n"
        "with one_thread('blas'): pass\n"
        "before = {found['filepath'] for found in threadpool_info()}\n"
        "import scipy.linalg\n"
        "with one_thread('blas'):\n"
        "    print([found['num_threads'] for found in threadpool_info() if found['filepath'] not in before])\n"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    if run.stdout.strip() == "[]":
        pytest.skip("here scipy has no BLAS of its own")
    assert set(run.stdout) <= set("[1, ]\n")
