"""A contender of benchmarks/gpu.py in a process of its own.

NNabla decides on TF32 once for a process, and brings a cuDNN that torch's may not share one with.
Reads a task as a JSON line, does it and answers with one, until there are no more:
    {"prepare": "images", "size": 64}  makes what is called then: images, resident_images or step
    {"calls": 3}                       -> {"seconds": 0.01}, of one call
    {"losses": 30, "size": 64}         -> {"losses": [...]}
    {"features": 8, "to": "x.npz"}     -> {}
    {"release": true}                  forgets what was prepared
"""

from __future__ import annotations

import gc
import json
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

LOSS_BATCHES = 4


def contender(implementation: str, model: str, precision: str, context: str) -> Any:
    """The one that is asked for; imports only what it needs."""
    if implementation == "torch":
        from gpu_torch import Torch

        return Torch(model, precision, context)
    from gpu_nnclip import Nnclip

    return Nnclip(model, precision, context)


def answer(one: Any, task: dict[str, Any], call: Callable[[], Any] | None) -> dict[str, Any]:
    """Do what a task says, but for preparing."""
    if "features" in task:
        images, texts = one.features(task["features"])
        np.savez(task["to"], images=images, texts=texts)
        return {}
    if "losses" in task:
        step = one.step(task["size"], LOSS_BATCHES)
        return {"losses": [float(step()) for _ in range(task["losses"])]}
    assert call is not None
    start = time.perf_counter()
    for _ in range(task["calls"]):
        call()  # what it gives is in main memory: the GPU is done
    return {"seconds": (time.perf_counter() - start) / task["calls"]}


def main() -> None:
    """Answer tasks from stdin until it ends."""
    answers, sys.stdout = sys.stdout, sys.stderr
    one, call = contender(*sys.argv[1:]), None
    print("{}", file=answers, flush=True)
    for line in sys.stdin:
        task = json.loads(line)
        try:
            if "release" in task:
                call, found = None, {}
                gc.collect()
                one.release()
            elif "prepare" in task:
                call, found = getattr(one, task["prepare"])(task["size"]), {}
            else:
                found = answer(one, task, call)
        except Exception as error:  # such as too little memory: the parent goes on
            found = {"failed": f"{type(error).__name__}: {error}"}
        print(json.dumps(found), file=answers, flush=True)


if __name__ == "__main__":
    main()
