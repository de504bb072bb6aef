"""ONNX: written from programs, quantised, and taken from elsewhere."""
