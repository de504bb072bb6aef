"""Agents as processes of their own, against a real broker and a real update repository."""
