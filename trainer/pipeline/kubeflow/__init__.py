"""The steps of the production pipeline as a package of Kubeflow Pipelines, whose engine runs each in a pod of its own.

What a task does is one call of ``fieldloop pipeline step``; what must be carried out again is decided by our own keys.
The SDK that writes packages wants other versions of what we use, so it has an environment of its own.
"""
