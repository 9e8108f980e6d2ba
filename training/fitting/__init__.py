"""How Keras's weights are found: batches, schedules, callbacks, checkpoints, devices. Knows neither ONNX nor stores."""
