"""A FastAPI service for a network of one's own, as a tutorial writes it.

    ARTIFACT=artifacts/mine-1.0.0 uvicorn benchmarks.serving_peers.own_network:app [--workers 2]

One session, made when the module is imported, with THREADS threads (0: onnxruntime's own choice);
one picture a request is decoded, resized, cropped and run on the event loop.
"""

import io
import json
import os
from pathlib import Path

import numpy as np
import onnxruntime
from fastapi import FastAPI, Request
from PIL import Image

FOLDER = Path(os.environ["ARTIFACT"])
manifest = json.loads((FOLDER / "manifest.json").read_text())
labels = manifest["labels"]
_, height, width, _ = manifest["input"]["shape"]
(short,) = manifest["input"]["resize_to"]
resample = Image.Resampling[manifest["input"]["interpolation"].upper()]
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = int(os.environ.get("THREADS", "0"))
session = onnxruntime.InferenceSession(
    str(FOLDER / "model.onnx"), options, providers=["CPUExecutionProvider"]
)
app = FastAPI()


def pixels_of(content: bytes) -> np.ndarray:
    """Return the pixels (H, W, 3) of an image file: shorter side, then the centre."""
    image = Image.open(io.BytesIO(content)).convert("RGB")
    scale = short / min(image.size)
    image = image.resize((round(image.width * scale), round(image.height * scale)), resample)
    left, top = (image.width - width) // 2, (image.height - height) // 2
    return np.asarray(image.crop((left, top, left + width, top + height)))


@app.post("/predict")
async def predict(request: Request) -> dict[str, object]:
    """Classify the image file in the body."""
    image = pixels_of(await request.body())
    (probabilities,) = session.run(["probabilities"], {"image": image[None]})
    best = np.argsort(-probabilities[0])[:5]
    return {
        "label": labels[best[0]],
        "top": [{"label": labels[i], "probability": float(probabilities[0, i])} for i in best],
    }
