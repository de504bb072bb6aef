"""Proves variants against the original model, measures what they cost, and tells it."""
