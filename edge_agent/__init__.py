"""What runs on the device, and the bundle format that it accepts.

Import what you need by its full path. Nothing here imports a training or conversion library; numpy and the runtimes
are imported by their adapters only, because a device has just the one that it runs.
"""
