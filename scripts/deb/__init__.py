"""Builds the Debian package of the agent, without root or Debian's tools: the same bytes from the same sources.

``python -m scripts.deb.build [--into FOLDER] [ARCHITECTURE ...]``
"""
