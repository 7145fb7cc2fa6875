"""What one writes in an afternoon: FastAPI around open_clip, each request computed by itself.

    python benchmarks/naive_server.py MODEL.h5 PORT [bf16]

It takes the requests of `benchmarks/serving.py`, and is measured by `benchmarks/serve.py`.
"""

from __future__ import annotations

import base64
import sys
from io import BytesIO
from typing import Any

import peers
import torch
import uvicorn
from fastapi import FastAPI
from open_clip import get_tokenizer, image_transform
from PIL import Image

from nnclip.weights.model import load_model


def build(path: str, bf16: bool) -> FastAPI:
    """The application; its model has the weights of an .h5 file with OpenAI's vocabulary."""
    weights = load_model(path)
    (peer,) = peers.torch_peers(weights, print, names=("open_clip",))
    size = weights.config.image.resolution
    transform, tokenize = image_transform(size, is_train=False), get_tokenizer("ViT-B-32")
    app = FastAPI()

    def embed(inputs: list[str], image: bool) -> torch.Tensor:
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            if not image:
                return peer.encode_text(tokenize(inputs))
            files = [base64.b64decode(one.partition(",")[2]) for one in inputs]
            images = [transform(Image.open(BytesIO(file))) for file in files]
            return peer.encode_image(torch.stack(images))

    @app.post("/embeddings")
    def embeddings(asked: dict[str, Any]) -> dict[str, Any]:
        rows = embed(asked["input"], asked["modality"] == "image").float()
        rows = (rows / rows.norm(dim=-1, keepdim=True)).numpy()
        coded = [base64.b64encode(row.tobytes()).decode() for row in rows]
        return {"data": [{"index": i, "embedding": row} for i, row in enumerate(coded)]}

    return app


if __name__ == "__main__":
    uvicorn.run(
        build(sys.argv[1], "bf16" in sys.argv[3:]), port=int(sys.argv[2]), log_level="error"
    )
