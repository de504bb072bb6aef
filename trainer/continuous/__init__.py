"""The loop: watch, ask, confirm, gather, retrain, roll out, cool down; where it may not go on, people are told."""
