"""Builds SD-card images: a Debian of the board's architecture, what a card carries, and the partitions that hold both.

Nothing is mounted, no loop device is taken; without root, a user namespace stands for it. The same inputs give the same
bytes.
"""
