"""torch as a worker of benchmarks/gpu.py runs it: transformers with sdpa, bf16 by autocast."""

from __future__ import annotations

from collections.abc import Callable

import models
import numpy as np
import torch
from gpu_nnclip import BETAS, DECAY, EPS, RATE, batches
from peers import torch_peers


class Torch:
    """One model in one precision: fp32, tf32 or bf16."""

    def __init__(self, model: str, precision: str, context: str) -> None:
        weights = models.random_weights(model)
        (peer,) = torch_peers(weights, print, names=("transformers",))
        self._config, self._peer = weights.config, peer
        self._device = "cpu" if context == "cpu" else "cuda"
        self._bf16 = precision == "bf16"
        torch.set_float32_matmul_precision("high" if precision == "tf32" else "highest")
        peer.model.to(self._device)

    def features(self, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Features of images and texts, (N, E) each."""
        (batch,) = batches(self._config, count, 1)
        with torch.inference_mode(), self._autocast():
            images = self._peer.encode_image(self._there(batch.images))
            texts = self._peer.encode_text(self._there(batch.ids).long())
        return images.float().cpu().numpy(), texts.float().cpu().numpy()

    def images(self, size: int) -> Callable[[], np.ndarray]:
        """From images in main memory to features in main memory."""
        pictures = models.pictures(self._config, size)
        return lambda: self._encode(self._there(pictures))

    def resident_images(self, size: int) -> Callable[[], np.ndarray]:
        """The same of images that lie in the GPU's memory already."""
        pictures = self._there(models.pictures(self._config, size))
        return lambda: self._encode(pictures)

    def step(self, size: int, count: int = 1) -> Callable[[], float]:
        """A whole training step on `count` batches in turn, with the fused AdamW; the loss."""
        model, given = self._peer.model.train(), batches(self._config, size, count)
        matrices = [p for p in model.parameters() if p.ndim > 1]
        vectors = [p for p in model.parameters() if p.ndim <= 1]
        groups = [{"params": matrices}, {"params": vectors, "weight_decay": 0.0}]
        optimiser = torch.optim.AdamW(groups, RATE, BETAS, EPS, DECAY, fused=True)
        own = torch.arange(size, device=self._device)
        cross_entropy = torch.nn.functional.cross_entropy
        done = 0

        def call() -> float:
            nonlocal done
            batch = given[done % count]
            done += 1
            optimiser.zero_grad(set_to_none=True)
            with self._autocast():
                a = self._peer.encode_image(self._there(batch.images))
                b = self._peer.encode_text(self._there(batch.ids).long())
                a, b = (f / f.norm(dim=-1, keepdim=True) for f in (a, b))
                logits = model.logit_scale.exp() * a @ b.t()
                loss = (cross_entropy(logits, own) + cross_entropy(logits.t(), own)) / 2
            loss.backward()
            optimiser.step()
            return loss.item()

        return call

    def release(self) -> None:
        """Give back the GPU's memory that nothing uses."""
        if self._device == "cuda":
            torch.cuda.empty_cache()

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self._device, torch.bfloat16, enabled=self._bf16)

    def _there(self, array: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(array).to(self._device)

    def _encode(self, images: torch.Tensor) -> np.ndarray:
        with torch.inference_mode(), self._autocast():
            return self._peer.encode_image(images).float().cpu().numpy()
