"""The wire: messages, topics, the MQTT client, and the brokers that Fieldloop starts.

The contract is two modules without I/O, ``topics`` and ``messages``; import what you need by its full path. A device
imports the contract, ``errors`` and ``client`` only.
"""
