"""Object detection: anchors, assignment, loss, suppression and measures. Knows no ONNX, data set or store."""
