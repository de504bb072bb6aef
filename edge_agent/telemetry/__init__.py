"""Telemetry: what a device tells of its scoring, counted, sampled, kept until it is stored, and forwarded."""
