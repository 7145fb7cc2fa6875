"""Classes through 80 templates each: how near the rate is to that of full batches of one length.

    python benchmarks/ensembles.py [--model ViT-B/32] [--classes N] [--out FILE]

Three ways take turns, with the same random weights: what `evaluate` does, from words to one
embedding a class; the tower alone on batches whose texts all have the same number of tokens, the
best there is; and the tower alone on batches of any texts.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import models
import numpy as np
from measuring import Contender, judged, machine, print_ratios, ratio, take_turns

from nnclip.embeddings import unit
from nnclip.evaluate.classifier import class_embeddings
from nnclip.graph.beside import text_inputs, used_columns
from nnclip.text.prompts import CIFAR100_CLASSES, IMAGENET_TEMPLATES, fill
from nnclip.text.tokenizer import openai_tokenizer
from nnclip.towers import TOGETHER, Towers

EVALUATE, BEST, AS_THEY_COME = "evaluate", "full batches of one length", "as they come"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="ViT-B/32", help="(%(default)s)")
    parser.add_argument("--classes", type=int, default=30, help="(%(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="(%(default)s)")
    parser.add_argument("--out", type=Path, help="JSON file to write")
    args = parser.parse_args()
    weights = models.random_weights(args.model)
    towers, tower = Towers(weights, None, "cpu", None), weights.config.text
    names = CIFAR100_CLASSES[: args.classes]
    texts = [text for row in fill(IMAGENET_TEMPLATES, names) for text in row]
    ids_NL = openai_tokenizer()(texts, tower.context, False)
    by_length = np.argsort(used_columns(text_inputs(ids_NL, tower), tower))
    shuffled = np.random.default_rng(0).permutation(len(texts))

    def alone(rows: np.ndarray) -> None:
        for at in range(0, len(rows), TOGETHER):
            towers.text(ids_NL[rows[at : at + TOGETHER]])

    def embed(texts: Sequence[str]) -> np.ndarray:
        return unit(towers.text(openai_tokenizer()(texts, tower.context, False)))

    ways = {
        EVALUATE: lambda: class_embeddings(embed, names, IMAGENET_TEMPLATES),
        BEST: lambda: alone(by_length),
        AS_THEY_COME: lambda: alone(shuffled),
    }
    entered = [Contender(name, towers.precision, call, len(texts)) for name, call in ways.items()]
    take_turns(entered, args.rounds, patience=600)
    ours, best, plain = entered
    ratios = {
        f"{EVALUATE} against {BEST}": judged(ratio(ours, best), 0.95),
        f"{EVALUATE} against {AS_THEY_COME}": judged(ratio(ours, plain)),
    }
    rates = {one.implementation: one.per_second() for one in entered}
    content = {"benchmark": "ensembles", "machine": machine(), "model": args.model}
    content |= {"precision": towers.precision, "texts": len(texts), "rates": rates}
    content |= {"ratios": ratios}
    for name, rate in rates.items():
        print(f"{name:30} {rate['median']:10.1f} texts/s")
    print_ratios(ratios)
    if args.out:
        args.out.write_text(json.dumps(content, indent=1) + "\n")
    print(json.dumps(content))


if __name__ == "__main__":
    main()
