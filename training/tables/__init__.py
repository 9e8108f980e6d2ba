"""Tables of numbers and categories: the front of their ONNX graphs, and which columns count."""
