"""What ``fieldloop init --ci`` writes: a workflow that tests every change, trains, and releases by stage."""
