"""Object detection: anchors, assignment, loss, suppression and measures. Knows neither ONNX nor data sets nor stores."""
