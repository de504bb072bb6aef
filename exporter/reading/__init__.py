"""Reads fitted models into programs (`exporter.programs.program`): one table of readers for every family.

A reader looks at one class of estimator, exactly (a subclass may do something else), and adds what it computes to the
program. What has no reader is refused by the name of its step.
"""
