"""A service reports like a device: windows, samples, events and status, so that one monitor judges it with the fleet.

Counting, choosing, keeping and sending are the agent's own modules; what stands here joins them to a service.
"""
