"""A model as a value: programs of a few operations, read once, written to every form."""
