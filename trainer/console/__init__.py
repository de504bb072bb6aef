"""What people see in the terminal: steps of a run, the fleet, turns of the story. Shows, decides nothing."""
