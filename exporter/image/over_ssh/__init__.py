"""Puts the agent onto a board that runs already, over the user's own ``ssh``.

The board is looked at first, and refused where it could not take the agent. Then one archive goes over one connection's
standard input, and ``apply.sh``, which an image's first start runs too, does the rest by root: whole, or not at all. No
secret is an argument of a program, here or there.
"""
