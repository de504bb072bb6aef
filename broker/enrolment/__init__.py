"""How a device gets its certificate, and the next one."""
