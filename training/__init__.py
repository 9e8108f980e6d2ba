"""Offline: data set → recipe → fit → evaluate → export → verify → publish.

Knows `model_store`, Keras and ONNX; never the service. TensorFlow is imported when a job begins, not with this
package, so that help and complaints about wrong use answer at once.
"""

from __future__ import annotations

import os

# These are read when TensorFlow and onnxruntime are imported, so they must stand before either. The oneDNN
# switch silences a warning about rounding and costs no speed.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")
# onnxruntime sends telemetry from 1.29 on unless told; the name has changed, so both.
os.environ.update({"ORT_DISABLE_TELEMETRY": "1", "ORT_TELEMETRY_DISABLED": "1"})

from training.job import train

__all__ = ["train"]
