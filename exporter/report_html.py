"""Writes a report as one page."""
