"""The same job on LitServe, with batching; its settings are this program's arguments.

    MODEL=model.onnx python -m benchmarks.serving_peers.litserve_app --port 8000 --workers 2

It runs in an environment of its own, for LitServe needs torch. LitServe takes annotations as they
are, so they cannot be postponed in this file.
"""

import argparse
import os
from typing import Annotated

import litserve  # type: ignore[import-not-found, unused-ignore]
import numpy as np
import onnxruntime
from fastapi import Body
from numpy.typing import NDArray

from benchmarks.serving_peers.cifar10 import LABELS
from benchmarks.serving_peers.decoding import decode_png

PNG = b"\x89PNG"


class Classifier(litserve.LitAPI):  # type: ignore[misc, unused-ignore]
    """Decodes in the worker, runs what the batch has in one call, answers each request."""

    threads = 1

    def setup(self, device: str) -> None:
        """Load the model in a worker; a model runs on its worker's share of the cores."""
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self.threads
        self.session = onnxruntime.InferenceSession(
            os.environ["MODEL"], options, providers=["CPUExecutionProvider"]
        )

    def decode_request(
        self, request: Annotated[bytes, Body(media_type="application/octet-stream")]
    ) -> NDArray[np.uint8]:
        """Return the images (N, 32, 32, 3) of an image file, or of raw bytes."""
        if not request.startswith(PNG):
            return np.frombuffer(request, np.uint8).reshape(-1, 32, 32, 3)
        return decode_png(request)[None]

    def batch(self, inputs: list[NDArray[np.uint8]]) -> list[NDArray[np.uint8]]:
        """Leave the requests apart: each may bring several images."""
        return inputs

    def predict(self, inputs: list[NDArray[np.uint8]]) -> list[NDArray[np.float32]]:
        """Return the probabilities (N, 10) of each request."""
        (probabilities,) = self.session.run(["probabilities"], {"image": np.concatenate(inputs)})
        ends = np.cumsum([len(images) for images in inputs])[:-1]
        return list(np.split(probabilities, ends))

    def unbatch(self, output: list[NDArray[np.float32]]) -> list[NDArray[np.float32]]:
        """Return the answers, one per request."""
        return output

    def encode_response(self, output: NDArray[np.float32]) -> dict[str, object]:
        """Return the answer to one request."""
        labels = [LABELS[best] for best in output.argmax(axis=1)]
        if len(output) > 1:
            return {"labels": labels, "probabilities": output.tolist()}
        return {
            "label": labels[0],
            "probabilities": dict(zip(LABELS, output[0].tolist(), strict=True)),
        }


def main() -> None:
    """Serve until a signal."""
    parser = argparse.ArgumentParser(description="The benchmark's job on LitServe.")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--api-servers", type=int, default=1)
    parser.add_argument("--max-batch", type=int, default=16)
    parser.add_argument("--batch-timeout", type=float, default=0.001)
    parser.add_argument("--fast-queue", action="store_true")
    given = parser.parse_args()
    api = Classifier(max_batch_size=given.max_batch, batch_timeout=given.batch_timeout)
    api.threads = given.threads
    server = litserve.LitServer(
        api, accelerator="cpu", workers_per_device=given.workers, fast_queue=given.fast_queue
    )
    server.run(
        host="127.0.0.1",
        port=given.port,
        num_api_servers=given.api_servers,
        log_level="warning",
        generate_client_file=False,
        access_log=False,
    )


if __name__ == "__main__":
    main()
