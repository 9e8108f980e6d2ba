"""What people do today: Flask under gunicorn's threads, a session.run for each request, raw float32 in and out."""

from __future__ import annotations

import os

import numpy as np
import onnxruntime
from flask import Flask, Response, request

app = Flask(__name__)
session = onnxruntime.InferenceSession(os.environ["MODEL"], providers=["CPUExecutionProvider"])
width = session.get_inputs()[0].shape[1]


@app.get("/ready")
def ready() -> str:
    return "ok"


@app.post("/predict")
def predict() -> Response:
    data = np.frombuffer(request.get_data(cache=False), np.float32).reshape(-1, width)
    return Response(session.run(None, {"x": data})[0].tobytes(), mimetype="application/octet-stream")
