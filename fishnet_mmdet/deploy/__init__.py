"""Trained networks for inference: the optimized form, and ONNX files."""
