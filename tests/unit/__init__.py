"""One module or function at a time, without network or other processes."""
