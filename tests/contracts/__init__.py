"""One set of checks per protocol, run on every implementation and on every fake."""
