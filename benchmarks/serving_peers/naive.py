"""A FastAPI service as a tutorial writes it.

    MODEL=model.onnx uvicorn benchmarks.serving_peers.naive:app [--workers 2]

One session with onnxruntime's defaults, made when the module is imported; one image is decoded and
run per request, on the event loop. The raw body spares it the cost of a multipart form.
"""

import os

import numpy as np
import onnxruntime
from fastapi import FastAPI, Request

from benchmarks.serving_peers.cifar10 import LABELS
from benchmarks.serving_peers.decoding import decode_png

app = FastAPI()
session = onnxruntime.InferenceSession(os.environ["MODEL"], providers=["CPUExecutionProvider"])


@app.post("/predict")
async def predict(request: Request) -> dict[str, object]:
    """Classify the image file in the body."""
    image = decode_png(await request.body())
    (probabilities,) = session.run(["probabilities"], {"image": image[None]})
    return {
        "label": LABELS[int(probabilities[0].argmax())],
        "probabilities": dict(zip(LABELS, probabilities[0].tolist(), strict=True)),
    }


@app.post("/predict-arrays")
async def predict_arrays(request: Request) -> dict[str, object]:
    """Classify the images (N, 32, 32, 3) whose bytes are the body."""
    images = np.frombuffer(await request.body(), np.uint8).reshape(-1, 32, 32, 3)
    (probabilities,) = session.run(["probabilities"], {"image": images})
    labels = [LABELS[best] for best in probabilities.argmax(axis=1)]
    return {"labels": labels, "probabilities": probabilities.tolist()}
