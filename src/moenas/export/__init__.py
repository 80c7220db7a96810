"""Trained models as files for devices: formats, the routed ONNX graph, int8, and what they lose."""
