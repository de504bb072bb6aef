"""C99 headers for microcontrollers, written from programs."""
