"""The whole loop on one machine: one project, a few devices as processes, real parts, and a summary of what happened.

Nothing here is needed by a fleet in the field; everything here is made of the parts that a fleet uses.
"""
