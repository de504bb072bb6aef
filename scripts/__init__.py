"""The programs behind make's targets."""
