"""Everything central: features, pipeline, registry, monitoring, rollout, and the command ``fieldloop``.

Inner layers, top down: cli, demo > console > continuous > rollout > monitoring > pipeline > registry > features >
project, errors. Import what you need by its full path.
"""
