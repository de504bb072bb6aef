"""Puts agent, identity, settings and network into an image of Raspberry Pi OS that is there, for its first start."""
