"""Brings a bundle to the fleet, ring by ring: success is what devices prove, and a failing ring is taken back."""
