"""How long a fresh process needs from a file of weights to its first answer, and how much memory.

Run as a script it is that process: it loads, answers once and prints what it took as JSON.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from resident import memory

TEXTS = ["a photo of a dog", "a photo of a cat"]
GIGABYTE = 1e9


def first_answers(weights: Any, precisions: tuple[str, ...], runs: int = 2) -> list[dict[str, Any]]:
    """One row for each precision of nnclip, and one for OpenAI's code where torch is installed.

    Args:
        weights: a model with OpenAI's vocabulary.
        precisions: of nnclip.
        runs: fresh processes for each row, of which the better one counts; the first warms the
            disk. In int8 one more comes before them, which calibrates: the others find its scales.
    """
    import measuring
    from peers import torch_peers

    from nnclip.weights.model import save_model

    size = 4 * sum(v.size for v in weights.variables().values())
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.h5"
        save_model(path, weights)
        for precision in precisions:
            rows.append(_in_a_process("nnclip", str(path), precision, size, runs))
        if measuring.installed("torch", "clip"):
            import torch

            path = Path(folder) / "model.pt"
            (peer,) = torch_peers(weights, print, names=("openai",))
            torch.save(peer.model.state_dict(), path)
            del peer
            rows.append(_in_a_process("openai", str(path), "fp32", size, runs))
    return rows


def _in_a_process(
    implementation: str, path: str, precision: str, size: int, runs: int
) -> dict[str, Any]:
    """The best of several fresh processes."""
    command = [sys.executable, "-W", "ignore", __file__, implementation, path, precision]
    kept = {**os.environ, "NNCLIP_CACHE": str(Path(path).parent)}
    seen = []
    for _ in range(runs + (precision == "int8")):
        child = subprocess.run(command, capture_output=True, text=True, env=kept)
        if child.returncode:
            raise RuntimeError(f"{' '.join(command)}:\n{child.stderr}")
        seen.append(json.loads(child.stdout))
    found = min(seen, key=lambda one: one["seconds"])
    taken = found.pop("peak_bytes") - found["imported_bytes"], found.pop("settled_bytes")
    return {
        "implementation": implementation,
        "precision": precision,
        "import_seconds": round(found["import_seconds"], 3),
        "seconds": round(found["seconds"], 3),
        "weights_gb": round(size / GIGABYTE, 3),
        "peak_over_weights": round(taken[0] / size, 3),
        "settled_over_weights": round((taken[1] - found["imported_bytes"]) / size, 3),
        "process_peak_gb": round((taken[0] + found["imported_bytes"]) / GIGABYTE, 3),
    }


def _nnclip(path: str, precision: str) -> Callable[[Any], np.ndarray]:
    from nnclip.clip import CLIP

    def answer(picture: Any) -> np.ndarray:
        model = CLIP(path, precision=precision)
        return model.probabilities(model.preprocess(picture)[None], model.tokenize(TEXTS))

    return answer


def _openai(path: str, precision: str) -> Callable[[Any], np.ndarray]:
    import torch
    from peers import openai_module

    from nnclip.image import Preprocess
    from nnclip.text import openai_tokenizer

    build = openai_module().build_model

    def answer(picture: Any) -> np.ndarray:
        model = build(torch.load(path, weights_only=True, mmap=True)).float()
        images = torch.from_numpy(Preprocess(model.visual.input_resolution)(picture)[None])
        with torch.inference_mode():
            ids = torch.from_numpy(openai_tokenizer()(TEXTS, model.context_length, False)).long()
            return model(images, ids)[0].softmax(dim=-1).numpy()

    return answer


def main() -> None:
    """Load, answer, print."""
    implementation, path, precision = sys.argv[1:]
    picture_bytes = np.random.default_rng(0).integers(0, 256, (300, 400, 3), np.uint8)
    start = time.perf_counter()
    from PIL import Image

    answer = {"nnclip": _nnclip, "openai": _openai}[implementation](path, precision)
    imported, before = time.perf_counter(), memory()
    answer(Image.fromarray(picture_bytes))
    taken = {
        "import_seconds": imported - start,
        "seconds": time.perf_counter() - imported,
        "imported_bytes": before["now"],
        "peak_bytes": memory()["peak"],
        "settled_bytes": memory()["now"],
    }
    print(json.dumps(taken))


if __name__ == "__main__":
    main()
