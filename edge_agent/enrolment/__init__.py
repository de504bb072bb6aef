"""How a device comes by its certificate and keeps it: enrols once by a claim token, renews before the end.

All of it is optional: without ``[enrolment]`` in the settings nothing here is imported. What talks to the network, or
starts ``openssl``, runs in a process of its own that ends when it is done: scoring waits for nothing of it.
"""
