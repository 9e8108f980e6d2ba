"""From a fitted network to an ONNX file that computes the same: written, checked, verified, quantised, timed."""
