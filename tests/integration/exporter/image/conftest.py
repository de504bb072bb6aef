"""Packages of the agent, built once."""

from tests.integration.deb.conftest import package_of

__all__ = ["package_of"]
