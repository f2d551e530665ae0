"""Trained networks in their form for inference, and as ONNX files."""
