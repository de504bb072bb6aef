"""The agent as a service: what it tells the service manager, how it logs there, what it does on SIGHUP.

The unit file and the drop-ins for devices lie beside the modules.
"""
