"""Model tables for the engine that the agent carries, written from programs."""
