"""Bytes ⇄ tensors: pure functions, one module for each format. No I/O; knows neither Flask nor onnxruntime."""
