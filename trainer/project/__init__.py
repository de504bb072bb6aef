"""The project file: one learning problem, described by one ``fieldloop.toml``.

Defaults are here and nowhere else; the file overrides them, unknown keys are refused. Paths in the file are relative to
the file. This package knows the words of a project, not how any of them is carried out.
"""
