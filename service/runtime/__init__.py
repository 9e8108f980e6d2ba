"""The only folder that imports onnxruntime: providers, sessions, warm-up, golden replay."""
