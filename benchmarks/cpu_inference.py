"""How fast images and texts become features on this processor: nnclip beside what else there is.

One run, the same random weights and inputs for all, taking turns: nnclip, plain NNabla, OpenAI's
model code, open_clip, transformers, ONNX Runtime and OpenVINO of the torch model. Each torch peer
runs in bf16 in the faster of two ways (autocast held open, or weights cast once), with --compile
through torch.compile, too, if that is faster. Peers that are not installed are named.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import models
import numpy as np
from competition import Competition, torch_session
from first_answer import first_answers
from measuring import (
    Contender,
    Report,
    add_arguments,
    agreement,
    judged,
    print_rows,
    ratio,
    row,
    take_turns,
)
from peers import PEERS, TEXT_PEERS
from products import fraction_of_peak

from nnclip.weights.model import ModelWeights

Cell = dict[tuple[str, str], Contender]
BATCHES = {"ViT-B/32": (1, 8, 32)}  # of other models (1, 8): as many tokens, as long a wait
TOKENS = {  # B/16 has B/32's text tower
    "ViT-B/32": (16, 77),
    "ViT-L/14": (16,),
    "xlm-roberta-base": (16, 64),
    "small": (16,),
    "tiny": (8,),
    "tiny-encoder": (8, 16),
}
FIRST_ANSWER = ("ViT-B/32", "small")
PATIENCE, QUICK_PATIENCE = 4.0, 0.5  # seconds a contender may use in one cell

IMAGE, TEXT = "ViT-B/32 image", "ViT-B/32 text"
TARGETS = {
    f"{IMAGE} bf16, batch 32, against the best torch bf16 peer": 1.6,
    f"{IMAGE} bf16, batch 1, against the best torch bf16 peer": 2.0,
    f"{IMAGE} bf16, batch 32, against OpenVINO of the torch model": 1.2,
    f"{IMAGE} fp32, batch 32, against the best torch fp32 peer": 1.3,
    f"{IMAGE} fp32, batch 32, against ONNX Runtime": 1.25,
    f"{IMAGE} bf16, batch 8, against plain NNabla": 50.0,
    f"{IMAGE} int8, batch 32, against the best torch bf16 peer": 2.5,
    f"{IMAGE} int8, batch 32, against the best torch fp32 peer": 4.0,
    f"{IMAGE} int8, batch 32, against OpenVINO int8 of the torch model": 1.05,
    f"{IMAGE} fp32, batch 1, against OpenVINO of the torch model": 1.15,
    f"{IMAGE} bf16, batch 32, fraction of the bf16 peak": 0.65,
    f"{TEXT} bf16, 16-token captions, batch 32, against the best torch bf16 peer at 77": 9.0,
    f"{TEXT} int8, 77-token captions, batch 32, against the best torch fp32 peer at 77": 3.0,
}
# (our precision, peer, its precision) -> how the ratio is called; "torch" is the best of PEERS
COMPARED = {
    ("bf16", "torch", "bf16"): "the best torch bf16 peer",
    ("bf16", "openvino", "bf16"): "OpenVINO of the torch model",
    ("fp32", "torch", "fp32"): "the best torch fp32 peer",
    ("fp32", "onnxruntime", "fp32"): "ONNX Runtime",
    ("fp32", "openvino", "fp32"): "OpenVINO of the torch model",
    ("bf16", "plain nnabla", "fp32"): "plain NNabla",
    ("int8", "torch", "bf16"): "the best torch bf16 peer",
    ("int8", "torch", "fp32"): "the best torch fp32 peer",
    ("int8", "openvino", "int8"): "OpenVINO int8 of the torch model",
    ("int8", "onnxruntime", "int8"): "ONNX Runtime int8",
}
AGREEMENT = {"fp32": ("largest_error", 1e-5), "bf16": ("least_cosine", 0.9999)}
AGREEMENT["int8"] = ("least_cosine", 0.999)


def run_cell(contenders: Sequence[Contender], rounds: int, patience: float) -> Cell:
    """Measure one cell; contenders by implementation and precision."""
    take_turns(contenders, rounds, patience)
    return {_key(c): c for c in contenders}


def _key(contender: Contender) -> tuple[str, str]:
    peak = "peak " if contender.note == "products alone" else ""
    return peak + contender.implementation, contender.precision


def rows_of(cell: Cell, **more: object) -> list[dict]:
    """Rows of all who computed features, each with its agreement with torch in fp32."""
    reference = cell.get(("openai", "fp32")) or cell.get(("transformers encoder", "fp32"))
    rows = []
    for (name, _), contender in cell.items():
        if name.startswith("peak "):
            continue
        one = row(contender, **more)
        if reference is not None:
            found = np.asarray(contender.result)
            one["agreement"] = agreement(found, reference.result[: len(found)])
        rows.append(one)
    return rows


def best_torch(cell: Cell, precision: str) -> Contender | None:
    """The fastest torch peer of a cell."""
    found = [c for (name, p), c in cell.items() if name in (*PEERS, *TEXT_PEERS) and p == precision]
    return max(found, key=lambda c: c.per_second()["median"], default=None)


def image_ratios(cell: Cell, model: str, batch: int) -> dict[str, dict]:
    """The ratios of one cell of images, by name."""
    found = {}
    for (precision, peer, theirs), called in COMPARED.items():
        ours = cell.get(("nnclip", precision))
        other = best_torch(cell, theirs) if peer == "torch" else cell.get((peer, theirs))
        if ours is not None and other is not None:
            found[f"{model} image {precision}, batch {batch}, against {called}"] = ratio(
                ours, other
            )
    return {name: judged(value, TARGETS.get(name)) for name, value in found.items()}


def peak_ratios(cell: Cell, model: str, batch: int) -> tuple[dict[str, dict], dict]:
    """What part of the machine's peak nnclip reaches, and that peak in GFLOP/s."""
    config, ratios, peaks = models.MODELS[model], {}, {}
    for precision in ("bf16", "fp32"):
        plain = [c for (n, p), c in cell.items() if n.startswith("peak ") and p == precision]
        if not plain:
            continue
        peaks[precision] = {c.implementation: c.per_second()["median"] / 1e9 for c in plain}
        name = f"{model} image {precision}, batch {batch}, fraction of the {precision} peak"
        works = {
            name: models.image_work(config),
            f"{name}, counting only what is computed": models.image_work_needed(config),
        }
        for label, work in works.items():
            value = fraction_of_peak(cell["nnclip", precision], plain, work)
            ratios[label] = judged(value, TARGETS.get(label))
    return ratios, peaks


def agreement_ratios(rows: Sequence[dict], model: str) -> dict[str, dict]:
    """The worst agreement with torch fp32 of each precision of nnclip, over all cells."""
    ratios = {}
    for precision, (what, target) in AGREEMENT.items():
        ours = [
            r["agreement"][what]
            for r in rows
            if r["implementation"] == "nnclip" and r["precision"] == precision and "agreement" in r
        ]
        name = f"{model} {precision} features, {what.replace('_', ' ')} against torch fp32"
        if ours and what == "least_cosine":
            ratios[name] = judged({"value": min(ours)}, least=target)
        elif ours:
            ratios[name] = judged({"value": max(ours)}, most=target)
    return ratios


def first_answer_ratios(found: Sequence[dict], model: str) -> dict[str, dict]:
    """The time to the first answer, and the memory, beside their targets."""
    ratios = {}
    targets = (2.5, 1.6) if model == "ViT-B/32" else (None, None)
    taken = {one["precision"]: one["seconds"] for one in found if one["implementation"] == "nnclip"}
    for one in (one for one in found if one["implementation"] == "nnclip"):
        start = f"{model} {one['precision']}, load to first answer"
        seconds, memory = {"value": one["seconds"]}, {"value": one["peak_over_weights"]}
        ratios[f"{start}, seconds"] = judged(seconds, most=targets[0])
        most = targets[1] if one["precision"] == "fp32" else None
        ratios[f"{start}, memory at its peak / weights"] = judged(memory, most=most)
    if "int8" in taken:
        times = {"value": round(taken["int8"] / taken["fp32"], 3)}
        name = f"{model} int8 with its scales kept, load to first answer, times that of fp32"
        ratios[name] = judged(times, most=1.5 if model == "ViT-B/32" else None)
    return ratios


def measure(model: str, batches: Sequence[int], args: argparse.Namespace, report: Report) -> None:
    """Measure one model and add it to the report."""
    quick, rounds = args.quick, min(args.rounds, 3) if args.quick else args.rounds
    patience = QUICK_PATIENCE if quick else PATIENCE
    competition = Competition(model, report, quick, args.compile)
    rows, ratios, peaks = [], {}, {}
    with torch_session():
        for batch in () if competition.alone else batches:
            with_peak = batch == max(batches)
            cell = run_cell(competition.image_cell(batch, with_peak), rounds, patience)
            new = rows_of(cell, model=model, tower="image", batch=batch)
            print_rows(f"{model} image, batch {batch}", new)
            rows += new
            ratios |= image_ratios(cell, model, batch)
            if with_peak:
                fractions, peaks = peak_ratios(cell, model, batch)
                ratios |= fractions
        for tokens in TOKENS.get(model, ()):
            batch = max(batches)
            cell = run_cell(competition.text_cell(batch, tokens), rounds, patience)
            new = rows_of(cell, model=model, tower="text", batch=batch, tokens=tokens)
            print_rows(f"{model} text, {tokens} tokens, batch {batch}", new)
            rows += new
            ratios |= text_ratios(cell, competition, batch, tokens)
    ratios |= agreement_ratios(rows, model)
    weights, precisions = competition.weights, tuple(competition.towers)
    del competition
    found = _first_answers(model, weights, precisions, runs=1 if quick else 2)
    ratios |= first_answer_ratios(found, model)
    report.add(model, rows, ratios, peak_gflops=peaks, first_answer=found)


def text_ratios(cell: Cell, competition: Competition, batch: int, tokens: int) -> dict[str, dict]:
    """The ratios of one cell of captions, by name; CLIP in torch computes the whole context."""
    length = tokens if competition.alone else competition.config.text.context
    ratios = {}
    held = [(p, p) for p in competition.precisions]
    for precision, theirs in [*held, ("int8", "fp32")]:
        name = (
            f"{competition.name} text {precision}, {tokens}-token captions, batch {batch}, against "
            f"the best torch {theirs} peer at {length}"
        )
        ours, best = cell.get(("nnclip", precision)), best_torch(cell, theirs)
        if ours is not None and best is not None:
            ratios[name] = judged(ratio(ours, best), TARGETS.get(name))
    return ratios


def _first_answers(
    model: str, weights: ModelWeights, precisions: tuple[str, ...], runs: int
) -> list[dict]:
    if model not in FIRST_ANSWER:
        return []
    found = first_answers(weights, precisions, runs)
    print(f"\n{model + ', file to first answer':44} {'seconds':>10} {'imports':>10} {'memory':>10}")
    for one in found:
        name = f"  {one['precision']} {one['implementation']}"
        figures = one["seconds"], one["import_seconds"]
        print(f"{name:44} {figures[0]:10.2f} {figures[1]:10.2f} {one['peak_over_weights']:9.2f}x")
    return found


def main(argv: Sequence[str] | None = None) -> int:
    """Measure every model asked for, print tables and the JSON line."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_arguments(parser, ("ViT-B/32", "ViT-B/16", "ViT-L/14"), rounds=9)
    parser.add_argument("--compile", action="store_true", help="torch.compile, too: takes longer")
    args = parser.parse_args(argv)
    names = ["small"] if args.quick else args.models.split(",")
    report = Report("cpu_inference", args.out)
    for name in names:
        if report.has(name):
            print(f"{name}: taken from {args.out}")
            continue
        batches = args.batches or ("1,8" if args.quick else "")
        sizes = [int(b) for b in batches.split(",")] if batches else BATCHES.get(name, (1, 8))
        measure(name, sizes, args, report)
    report.finish()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
