"""The search of step ``train``: what is tried, how one trial is judged, when it is given up, which one is taken.

Decisions (`pruning`, `front`) are pure functions over what trials measured; only `study` knows Optuna.
"""
