"""ONNX graphs themselves: their parts, their files, and those that come from elsewhere as models."""
