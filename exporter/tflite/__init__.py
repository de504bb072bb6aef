"""TFLite files, written from programs."""
