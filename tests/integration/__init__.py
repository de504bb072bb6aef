"""Real brokers, databases, servers and processes, on free ports of the loopback."""
