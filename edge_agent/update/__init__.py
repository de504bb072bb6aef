"""Updates: from an order to a bundle that has proved itself on this device, or to the one that ran before.

``states``, ``record``, ``policy`` and ``trial`` decide and do nothing else; ``slots``, ``ledger``, ``fetcher``,
``stage``, ``engines`` and ``updater`` act. The new state is always on disk before the act that it names begins.
"""
