"""Draws the plots of a report."""
