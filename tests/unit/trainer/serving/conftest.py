"""Bundles that services of these tests answer with."""

import pytest

from tests.bundles import make_bundle


@pytest.fixture(scope="session")
def bundles(tmp_path_factory):
    """By version, the folders of two bundles of one model; ``bad``: the second with wrong golden rows."""
    folder = tmp_path_factory.mktemp("bundles")
    return {
        1: make_bundle(folder / "1"),
        2: make_bundle(folder / "2", version=2),
        "bad": make_bundle(folder / "bad", version=2, golden_error=0.5),
        "gaps": make_bundle(folder / "gaps", on_missing="flag"),
    }
