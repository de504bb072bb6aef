"""Where a view's rows come from: files by address, SQL databases, the fleet, and rows that are pushed."""
