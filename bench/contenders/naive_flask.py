"""What people do today: Flask under gunicorn's threads, a session.run for each request, raw float32 in and out."""

from __future__ import annotations

import numpy as np
from flask import Flask, Response, request

from bench.contenders.onnx_session import open_session

app = Flask(__name__)
session = open_session()
width = session.get_inputs()[0].shape[1]


@app.get("/ready")
def ready() -> str:
    return "ok"


@app.post("/predict")
def predict() -> Response:
    data = np.frombuffer(request.get_data(cache=False), np.float32).reshape(-1, width)
    return Response(session.run(None, {"x": data})[0].tobytes(), mimetype="application/octet-stream")


@app.post("/predict-json")
def predict_json() -> dict[str, object]:
    data = np.asarray(request.get_json()["x"], np.float32)
    return {"y": session.run(None, {"x": data})[0].tolist()}
