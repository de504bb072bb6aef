"""Brokers: local ones, a Mosquitto or a NATS cluster for a fleet, and what any other one must do."""
