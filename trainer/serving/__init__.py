"""Serving: a version of the registry answers over HTTP, and scores whole files.

It stands on the device's own floor: the Open Inference Protocol of `edge_agent.sensing`, the runtimes and rules of
`edge_agent.scoring`. So what the service answers is what a device answers. It knows the registry, never the pipeline.
"""
