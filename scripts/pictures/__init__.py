"""Pictures of the guides, made of what real commands print: one module for each page."""
