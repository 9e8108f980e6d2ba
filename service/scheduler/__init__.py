"""Which requests run together, and when. Is given `run`; knows neither HTTP nor ONNX."""
