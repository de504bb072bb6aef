"""SD-card images: which disks there are, how an image gets onto one, and what Raspberry Pi Imager is told of it."""
