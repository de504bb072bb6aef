"""The whole loop, as a user runs it."""
