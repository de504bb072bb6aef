"""What the exporter takes: fitted models and rows, from objects and from files."""
