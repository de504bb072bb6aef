"""What a card carries beside Debian: identity, settings, network, accounts, and the units that make a board of it."""
