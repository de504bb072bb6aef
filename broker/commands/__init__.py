"""The commands of the broker package, one module a topic."""
