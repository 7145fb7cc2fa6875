"""How fast a training step is on this processor: nnclip's compiled step beside torch and NNabla.

A step is forward, backward and AdamW (torch's is the fused one; autocast is opened once a step,
since the weights change in between). One run, the same random weights and batch for all, taking
turns. torch.compile is left out; ONNX Runtime and OpenVINO of the torch model do not train.
Contenders of one implementation share its weights and moments, in fp32, whatever the precision.
Captions fill the whole context, and in a second table 16 tokens of it: real ones are short, and as
the trainer does, nnclip leaves out the columns that no caption reaches (exact, attention being
causal). The others compute them.
"""

from __future__ import annotations

import argparse
import gc
from collections.abc import Sequence
from functools import partial
from itertools import product

import measuring
import models
import nnabla as nn
import nnabla.solvers as S
import numpy as np
import plain_nnabla
from measuring import NO_BF16, Contender, Report, judged, ratio, row
from models import step_work
from peers import PEERS, TorchPeer, torch_peers
from products import fraction_of_peak, product_contenders

from nnclip.engine import NNABLA_LOCK, AdamW, available_precisions, compile_step
from nnclip.graph.derived import FirstHighest
from nnclip.graph.losses import SOFTMAX, scalar_parameters
from nnclip.graph.parameters import building
from nnclip.graph.similarity import normalise
from nnclip.graph.text import text_tower
from nnclip.graph.vit import image_tower
from nnclip.weights.model import ModelWeights

Gradients = dict[str, np.ndarray]
BATCHES = {"tiny": 8, "small": 64, "ViT-B/32": 16, "ViT-B/16": 8, "ViT-L/14": 2}
QUICK_BATCH = 8
SHORT, SHORT_TINY = 16, 8  # tokens
# what fits into 24 GB beside one another: weights, gradients and moments of each implementation
TAKE_PART = {"ViT-B/16": ("openai",), "ViT-L/14": ("openai",)}
WITH_PLAIN = ("tiny", "small")
LR, BETAS, EPS, DECAY = 1e-5, (0.9, 0.98), 1e-6, 0.2
PATIENCE, QUICK_PATIENCE = 20.0, 1.0  # seconds a contender may use in one cell


def captions_of(tokens: int | None) -> str:
    """What names of cells say of captions that do not fill the context."""
    return f", {tokens}-token captions" if tokens else ""


LARGE_FP32 = "ViT-B/32 training step fp32, batch 16"
TARGETS = {
    "small training step bf16, batch 64, against the best torch bf16 peer": 1.5,
    "small training step bf16, batch 64, against the best torch fp32 peer": 2.2,
    "small training step fp32, batch 64, against the best torch fp32 peer": 1.3,
    "small training step bf16, batch 64, against plain NNabla": 25.0,
    "ViT-B/32 training step bf16, batch 16, against the best torch bf16 peer": 1.5,
    "ViT-B/32 training step bf16, batch 16, against the best torch fp32 peer": 2.5,
    f"{LARGE_FP32}, against the best torch fp32 peer": 1.2,
    f"{LARGE_FP32}{captions_of(SHORT)}, against the best torch fp32 peer": 1.5,
    f"{LARGE_FP32}, fraction of the fp32 peak": 0.8,
}
AGREEMENT = {"fp32": ("largest_error", 1e-5), "bf16": ("least_cosine", 0.999)}


class Batch:
    """The same images and captions for everyone."""

    def __init__(self, weights: ModelWeights, size: int, tokens: int) -> None:
        self.tokens = tokens  # of the longest caption
        self.images = models.pictures(weights.config, size)
        self.ids = models.captions(weights.config, size, tokens)
        self.end = FirstHighest()(self.ids)


def nnclip_contenders(weights: ModelWeights, batch: Batch, precisions: Sequence[str]) -> list:
    """nnclip's compiled step and AdamW, with a function that gives the gradients."""
    config, parameters = weights.config, weights.variables()
    ids = np.ascontiguousarray(batch.ids[:, : batch.tokens])
    arrays = {"images": batch.images, "ids": ids, "end": FirstHighest()(ids)}
    inputs = {name: nn.Variable(array.shape) for name, array in arrays.items()}
    with building(weights.scope):
        image = image_tower(inputs["images"], config.image, config.embed)
        text = text_tower(inputs, config.text, config.embed)
        embeddings = {"image": normalise(image), "text": normalise(text)}
        loss = SOFTMAX.graph(embeddings, scalar_parameters(SOFTMAX), 0)
    optimiser = AdamW(parameters, betas=BETAS, eps=EPS, weight_decay=DECAY)
    found = []
    for precision in precisions:
        step = compile_step(inputs, {"loss": loss}, parameters, precision=precision)

        def forward_backward(step=step) -> float:
            return float(step(**arrays)["loss"])

        def call(forward_backward=forward_backward) -> float:
            found_loss = forward_backward()
            optimiser.update(LR)
            return found_loss

        def gradients(forward_backward=forward_backward) -> tuple[float, Gradients]:
            value = forward_backward()
            return value, {name: np.array(v.g) for name, v in parameters.items()}

        found.append((Contender("nnclip", precision, call, 1), gradients))
    return found


def plain_contender(weights: ModelWeights, batch: Batch) -> tuple:
    """NNabla's own forward, backward and AdamW."""
    config = weights.config
    copies = {n: nn.Variable.from_numpy_array(v.d) for n, v in weights.variables().items()}
    for v in copies.values():
        v.need_grad = True
    images, ids = nn.Variable(batch.images.shape), nn.Variable(batch.ids.shape)
    end = nn.Variable(batch.end.shape)
    images.d, ids.d, end.d = batch.images, batch.ids, batch.end
    with nn.auto_forward(False):
        image = plain_nnabla.image_features(images, copies, config)
        text = plain_nnabla.text_features(ids, end, copies, config)
        embeddings = {"image": normalise(image), "text": normalise(text)}
        loss = SOFTMAX.graph(embeddings, copies, 0)
    solver = S.AdamW(LR, *BETAS, EPS, DECAY * LR)
    solver.set_parameters(copies)

    def forward_backward() -> float:
        with NNABLA_LOCK:
            solver.zero_grad()
            loss.forward(clear_no_need_grad=True)
            loss.backward(clear_buffer=True)
            return float(loss.d)

    def call() -> float:
        value = forward_backward()
        solver.update()
        return value

    def gradients() -> tuple[float, Gradients]:
        return forward_backward(), {name: np.array(v.g) for name, v in copies.items()}

    return Contender("plain nnabla", "fp32", call, 1), gradients


def torch_contenders(peer: TorchPeer, batch: Batch, precisions: Sequence[str]) -> list:
    """A torch peer with the fused AdamW; the loss is computed alike for all peers."""
    import torch

    model = peer.model.train()
    matrices = [p for p in model.parameters() if p.ndim > 1]
    vectors = [p for p in model.parameters() if p.ndim <= 1]
    groups = [{"params": matrices}, {"params": vectors, "weight_decay": 0.0}]
    optimiser = torch.optim.AdamW(groups, LR, BETAS, EPS, DECAY, fused=True)
    images, ids = torch.from_numpy(batch.images), torch.from_numpy(batch.ids).long()
    own = torch.arange(len(batch.ids))
    cross_entropy = torch.nn.functional.cross_entropy

    def forward_backward(precision: str) -> float:
        optimiser.zero_grad(set_to_none=True)
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            a, b = peer.encode_image(images), peer.encode_text(ids)
            a, b = (f / f.norm(dim=-1, keepdim=True) for f in (a, b))
            logits = model.logit_scale.exp() * a @ b.t()
            loss = (cross_entropy(logits, own) + cross_entropy(logits.t(), own)) / 2
        loss.backward()
        return loss.item()

    def call(precision: str) -> float:
        value = forward_backward(precision)
        optimiser.step()
        return value

    def gradients(precision: str) -> tuple[float, Gradients]:
        value = forward_backward(precision)
        found = peer.gradients()
        optimiser.zero_grad(set_to_none=True)
        return value, found

    note = {"fp32": "", "bf16": "autocast"}
    return [
        (Contender(peer.name, p, partial(call, p), 1, note[p]), partial(gradients, p))
        for p in precisions
    ]


def gradient_agreement(found: Gradients, wanted: Gradients) -> dict[str, float]:
    """The least cosine and the largest relative error of a tensor's gradient."""
    cosines, errors = [], []
    for name, right in wanted.items():
        a, b = found[name].ravel().astype(np.float64), right.ravel().astype(np.float64)
        length = np.linalg.norm(b)
        if length == 0:
            continue
        cosines.append(a @ b / (np.linalg.norm(a) * length))
        errors.append(np.linalg.norm(a - b) / length)
    return {"least_cosine": round(min(cosines), 7), "largest_error": float(f"{max(errors):.4g}")}


def agreements(entered: Sequence[tuple], wanted: tuple[float, Gradients] | None) -> dict:
    """Each contender's first loss and gradients against torch's in fp32."""
    found = {}
    for contender, gradients in entered:
        loss, arrays = gradients()
        found[contender.key] = {"loss": loss}
        if wanted is not None:
            found[contender.key]["agreement"] = gradient_agreement(arrays, wanted[1])
    return found


def ratios_of(contenders: Sequence[Contender], called: str) -> dict[str, dict]:
    """How many times faster nnclip's steps are; `called` has a place for the precision."""
    cell = {c.key: c for c in contenders}

    def best(precision: str) -> Contender | None:
        torch = [c for c in contenders if c.implementation in PEERS and c.precision == precision]
        return max(torch, key=lambda c: c.per_second()["median"], default=None)

    others = {
        ("bf16", "the best torch bf16 peer"): best("bf16"),
        ("bf16", "the best torch fp32 peer"): best("fp32"),
        ("fp32", "the best torch fp32 peer"): best("fp32"),
        ("bf16", "plain NNabla"): cell.get(("plain nnabla", "fp32")),
        ("fp32", "plain NNabla"): cell.get(("plain nnabla", "fp32")),
    }
    found = {}
    for (precision, peer), other in others.items():
        ours = cell.get(("nnclip", precision))
        name = f"{called.format(precision)}, against {peer}"
        if ours is not None and other is not None:
            found[name] = judged(ratio(ours, other), TARGETS.get(name))
    return found


def peak_ratios(
    contenders: Sequence[Contender], peaks: Sequence[Contender], called: str, work: float
) -> dict[str, dict]:
    """What part of the products' best rate nnclip's steps reach; `work`: operations of a step."""
    found = {}
    for ours in (c for c in contenders if c.implementation == "nnclip"):
        same = [peak for peak in peaks if peak.precision == ours.precision]
        if same:
            name = f"{called.format(ours.precision)}, fraction of the {ours.precision} peak"
            found[name] = judged(fraction_of_peak(ours, same, work), TARGETS.get(name))
    return found


def agreement_ratios(close: dict, model: str, judge: bool) -> dict[str, dict]:
    """nnclip's gradients against torch's in fp32; the targets are meant for batches of use."""
    found = {}
    for precision, (what, target) in AGREEMENT.items():
        target = target if judge else None
        ours = close.get(("nnclip", precision), {}).get("agreement")
        if ours is not None:
            name = f"{model} {precision} gradients, {what.replace('_', ' ')} against torch fp32"
            bound = {"least" if what == "least_cosine" else "most": target}
            found[name] = judged({"value": ours[what]}, **bound)
    return found


def measure(
    model: str, size: int, tokens: int | None, rounds: int, patience: float, report: Report
) -> None:
    """Measure one model and add it to the report; without `tokens`, captions fill the context."""
    weights = models.random_weights(model)
    batch = Batch(weights, size, tokens or weights.config.text.context)
    precisions = [p for p in ("fp32", "bf16") if p in available_precisions()]
    if "bf16" not in precisions:
        report.skip(NO_BF16)
    names = TAKE_PART.get(model, tuple(PEERS))
    for absent in sorted(set(PEERS) - set(names)):
        report.skip(f"{model}: {absent}, for want of memory")
    entered = nnclip_contenders(weights, batch, precisions)
    if model not in WITH_PLAIN:
        report.skip(f"{model}: plain NNabla, which takes minutes a step")
    elif tokens is None:
        entered.append(plain_contender(weights, batch))
    peers = torch_peers(weights, report.skip, names=names)
    for peer in peers:
        entered += torch_contenders(peer, batch, precisions)
    reference = next((g for c, g in entered if c.key == ("openai", "fp32")), None)
    close = agreements(entered, reference() if reference else None)
    gc.collect()
    contenders = [contender for contender, _ in entered]
    image = weights.config.image
    peaks = [
        one
        for p in precisions
        for one in product_contenders(
            p, size * image.tokens, image.blocks.width, image.blocks.hidden
        )
    ]
    measuring.take_turns([*contenders, *peaks], rounds, patience)
    short = captions_of(tokens)
    what = {"model": model, "tower": "training step", "batch": size, "tokens": batch.tokens}
    rows = [{**row(c, **what), **close[c.key]} for c in contenders]
    measuring.print_rows(f"{model} training step, batch {size}{short}", rows)
    called = f"{model} training step {{}}, batch {size}{short}"
    judge = size >= BATCHES.get(model, 8)
    ratios = ratios_of(contenders, called) | agreement_ratios(close, model + short, judge)
    ratios |= peak_ratios(contenders, peaks, called, step_work(weights.config, size, batch.tokens))
    report.add(model + short, rows, ratios)


def main(argv: Sequence[str] | None = None) -> int:
    """Measure every model asked for, print tables and the JSON line."""
    parser = argparse.ArgumentParser(description=__doc__)
    measuring.add_arguments(parser, ("small", "ViT-B/32", "ViT-B/16"), rounds=7)
    args = parser.parse_args(argv)
    report = Report("cpu_training", args.out)
    report.skip("onnxruntime and openvino of the torch model: they do not train")
    rounds, patience = args.rounds, PATIENCE
    if args.quick:
        rounds, patience = min(rounds, 3), QUICK_PATIENCE
    names = ["tiny"] if args.quick else args.models.split(",")
    for name, short in product(names, (False, True)):
        tokens = (SHORT_TINY if name == "tiny" else SHORT) if short else None
        if report.has(cell := f"{name}{captions_of(tokens)}"):
            print(f"{cell}: taken from {args.out}")
            continue
        usual = QUICK_BATCH if args.quick else BATCHES.get(name, 8)
        size = int(args.batches.split(",")[0]) if args.batches else usual
        measure(name, size, tokens, rounds, patience, report)
    report.finish()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
