"""The tests: they mirror the source, and may use all of it."""
