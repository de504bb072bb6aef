"""From a topic to a topic: rows that come as messages are scored by the model that a service holds, and answered.

A message is acknowledged when the broker has its answer. So what waits stands at the broker, in its order, and a
service that is killed loses nothing.
"""
