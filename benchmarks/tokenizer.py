"""How fast texts become ids: nnclip's tokenizer beside open_clip's and Hugging Face's, in one run.

Every round gives each tokenizer the same new captions in turn, so none has seen them before and all
meet the same load on the machine. nnclip's ids are compared with open_clip's on the way. open_clip
comes with requirements-dev.txt and is left out where that is not installed.
"""

import argparse
import importlib.util
import json
import os
import statistics
import time
from collections.abc import Callable, Sequence

import numpy as np
import texts
import tokenizers

from nnclip.text import openai_tokenizer

Tokenize = Callable[[Sequence[str]], np.ndarray]
CORPORA = {
    "english": texts.english,
    "languages": texts.languages,
    "messy": texts.messy,
    "mixed": texts.mixed,
}
CONTEXT = 77


def candidates() -> dict[str, Tokenize]:
    """The tokenizers compared; all give (N, 77) ids and cut long texts."""
    ours = openai_tokenizer()
    rust = tokenizers.Tokenizer.from_str(ours.to_json())
    rust.enable_truncation(CONTEXT)
    rust.enable_padding(length=CONTEXT)

    def hugging_face(batch: Sequence[str]) -> np.ndarray:
        # It has no ftfy and no entities: it does less than the others.
        readable = [text.encode("utf-8", "replace").decode() for text in batch]
        return np.array([found.ids for found in rust.encode_batch_fast(readable)], np.int32)

    functions: dict[str, Tokenize] = {"nnclip": lambda batch: ours(batch, CONTEXT, truncate=True)}
    if importlib.util.find_spec("open_clip"):
        import open_clip

        theirs = open_clip.SimpleTokenizer()
        functions["open_clip"] = lambda batch: theirs(batch, CONTEXT).numpy()
    return {**functions, "tokenizers, no cleaning": hugging_face}


def measure(corpus: str, rounds: int, count: int) -> dict[str, dict[str, float]]:
    """Microseconds per text of each candidate on one corpus: median, least and greatest round."""
    tokenize = candidates()
    times: dict[str, list[float]] = {name: [] for name in tokenize}
    for seed in range(rounds):
        batch, found = CORPORA[corpus](count, seed), {}
        for name, function in tokenize.items():
            start = time.perf_counter()
            found[name] = function(batch)
            times[name].append((time.perf_counter() - start) / count * 1e6)
        if not np.array_equal(found["nnclip"], found.get("open_clip", found["nnclip"])):
            raise SystemExit(f"the ids differ on {corpus}, seed {seed}")
    return {
        name: {
            "median_us": statistics.median(values),
            "least_us": min(values),
            "greatest_us": max(values),
        }
        for name, values in times.items()
    }


def main() -> None:
    """Measure, print the table, print the JSON line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--texts", type=int, default=2000, help="per round (%(default)s)")
    parser.add_argument("--quick", action="store_true", help="three rounds of 300 texts")
    args = parser.parse_args()
    if args.quick:
        args.rounds, args.texts = 3, 300
    results = {name: measure(name, args.rounds, args.texts) for name in CORPORA}
    print(f"{'microseconds per text':34} {'median':>8} {'least':>8} {'greatest':>8} {'factor':>7}")
    for corpus, rows in results.items():
        ours = rows["nnclip"]["median_us"]
        for name, row in rows.items():
            figures = " ".join(f"{value:8.2f}" for value in row.values())
            print(f"{corpus + ': ' + name:34} {figures} {row['median_us'] / ours:6.1f}x")
    print(json.dumps({"benchmark": "tokenizer", "cores": os.cpu_count(), "results": results}))


if __name__ == "__main__":
    main()
