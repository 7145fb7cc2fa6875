"""One published architecture of every family at full depth and width: beside open_clip's own code.

Each is built by open_clip with random weights, saved as a folder of its hub, converted, and asked
for features of the same input; then both take turns, in fp32 and in bf16, images and texts, in
batches of 1 and 8. open_clip runs in bf16 in the faster of two ways, as in cpu_inference.py. The
vocabularies have their size, the tokenizers beside them only a few words.

    python benchmarks/families.py --out benchmarks/results/DATE-MACHINE-families.json
    python benchmarks/families.py --models SigLIP,CoCa --features-only
"""

from __future__ import annotations

import argparse
import copy
import json
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from competition import torch_session
from measuring import (
    NO_BF16,
    Contender,
    Report,
    add_arguments,
    agreement,
    fastest,
    judged,
    print_rows,
    ratio,
    row,
    take_turns,
)
from peers import TorchPeer, ways_in_torch

from nnclip.clip import CLIP
from nnclip.convert.torch_to_h5 import convert_file
from nnclip.engine import available_precisions
from nnclip.graph.towers import TextTower

if TYPE_CHECKING:
    import torch

# family -> a name of open_clip's that stands for it, the quickest to run that has all of its parts
FAMILIES = {
    "CLIP": "ViT-B-16",
    "CLIP ResNet": "RN50",
    "CLIPA": "ViT-L-14-CLIPA",
    "MetaCLIP 2": "ViT-H-14-worldwide",
    "SigLIP": "ViT-B-16-SigLIP",
    "SigLIP 2": "ViT-B-32-SigLIP2-256",
    "MobileCLIP 2-L": "MobileCLIP2-L-14",
    "MobileCLIP-B": "MobileCLIP-B",
    "FastViT": "MobileCLIP-S1",
    "ConvNeXt": "convnext_base_w",
    "ViTamin": "ViTamin-S",
    "EVA01": "EVA01-g-14",
    "EVA02": "EVA02-B-16",
    "EVA02-E": "EVA02-E-14",
    "Perception Encoder": "PE-Core-B-16",
    "RoBERTa": "roberta-ViT-B-32",
    "XLM-R": "xlm-roberta-base-ViT-B-32",
    "NLLB": "nllb-clip-base",
    "CoCa": "coca_ViT-B-32",
}
LARGE = ("MetaCLIP 2", "EVA02-E")  # 13 and 20 GB, not by default
BATCHES, TOKENS = (1, 8), 12
LIMIT, TARGET = 2e-5, 1.3  # of a feature's norm; how many times faster than open_clip
PATIENCE, QUICK_PATIENCE = 4.0, 0.5  # seconds a contender may use in one cell
# what transformers' hub would tell of the encoders: (rows, width, layers, width of the MLP)
ENCODERS = {
    "roberta-base": (50265, 768, 12, 3072),
    "xlm-roberta-base": (250002, 768, 12, 3072),
    "facebook/nllb-200-distilled-600M": (256206, 1024, 12, 4096),
}


def encoder_config(name: str) -> Any:
    """The configuration of an encoder that open_clip names."""
    import transformers

    rows, width, layers, hidden = ENCODERS[name]
    if "nllb" in name:
        return transformers.M2M100Config(
            vocab_size=rows, d_model=width, encoder_layers=layers, encoder_ffn_dim=hidden,
            encoder_attention_heads=16, decoder_layers=1, decoder_ffn_dim=64, scale_embedding=True,
        )  # fmt: skip
    kind = transformers.XLMRobertaConfig if "xlm" in name else transformers.RobertaConfig
    return kind(
        vocab_size=rows, hidden_size=width, num_hidden_layers=layers, intermediate_size=hidden,
        max_position_embeddings=514, type_vocab_size=1, layer_norm_eps=1e-5,
    )  # fmt: skip


def write_tokenizer(folder: Path) -> None:
    """A tokenizer of few words with the marks that the families ask for."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = {word: i for i, word in enumerate(("<s>", "<pad>", "</s>", "<unk>", "a", "dog"))}
    made = Tokenizer(models.WordLevel(words, "<unk>"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    marks = {"pad_token": "<pad>", "eos_token": "</s>", "sep_token": "</s>", "unk_token": "<unk>"}
    PreTrainedTokenizerFast(tokenizer_object=made, **marks).save_pretrained(folder)


def build(name: str, folder: Path) -> torch.nn.Module:
    """open_clip's model with random weights, and the folder of its hub."""
    import open_clip
    import torch
    from open_clip import factory, hf_model
    from safetensors.torch import save_file

    settings = copy.deepcopy(open_clip.get_model_config(name))
    told = {"model_cfg": settings, "preprocess_cfg": {}}
    (folder / "open_clip_config.json").write_text(json.dumps(told))
    if settings["text_cfg"].get("hf_tokenizer_name"):
        write_tokenizer(folder)
    hub, hf_model.AutoConfig.from_pretrained = hf_model.AutoConfig.from_pretrained, encoder_config
    try:
        torch.manual_seed(7)
        model = factory.create_model(
            f"local-dir:{folder}", load_weights=False, pretrained_text=False
        )
    finally:
        hf_model.AutoConfig.from_pretrained = hub
    model = model.eval().float()
    with torch.no_grad():  # gains, biases and statistics away from 1 and 0
        for key, tensor in [*model.named_parameters(), *model.named_buffers()]:
            if key.endswith("running_var"):
                tensor.uniform_(0.5, 1.5)
            elif key.endswith("running_mean") or (tensor.ndim == 1 and "embed" not in key):
                tensor.add_(0.02 * torch.randn_like(tensor))
    state = {k: v.contiguous() for k, v in model.state_dict().items()}
    save_file(state, folder / "open_clip_model.safetensors")
    return model


def as_peer(model: Any) -> TorchPeer:
    """open_clip's model; CoCa's code would normalise features unless it is told not to."""
    return TorchPeer(
        "open_clip",
        model,
        lambda x: model.encode_image(x, normalize=False),
        lambda ids: model.encode_text(ids, normalize=False),
        {},
    )


def lowered(peer: TorchPeer) -> TorchPeer:
    """A copy with weights in bf16."""
    import torch

    copied = as_peer(copy.deepcopy(peer.model).to(torch.bfloat16))
    encode = copied.encode_image
    copied.encode_image = lambda x: encode(x.bfloat16())
    return copied


def captions(text: TextTower, count: int) -> np.ndarray:
    """Ids (N, context) int64: random words, an end where the tower looks for one, padding."""
    ids = np.full((count, text.context), text.pad, np.int64)
    words = np.random.default_rng(1).integers(10, text.vocabulary - 1, (count, TOKENS))
    ids[:, :TOKENS] = words
    pool = getattr(text, "pool", "")
    ids[:, TOKENS - 1] = text.eos if pool == "eos" else text.vocabulary - 1
    return ids


def inputs_of(config: Any, side: str, count: int) -> np.ndarray:
    """What the tower of a side is asked."""
    if side == "text":
        return captions(config.text, count)
    size = config.image.resolution
    return np.random.default_rng(0).normal(size=(count, 3, size, size)).astype(np.float32)


class Pair:
    """One model of nnclip and open_clip's, in each precision."""

    def __init__(self, name: str, report: Report) -> None:
        """Build and convert it; what is not there is named in the report."""
        bf16 = "bf16" in available_precisions()
        if not bf16:
            report.skip(NO_BF16)
        self.precisions = ("fp32", "bf16") if bf16 else ("fp32",)
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place)
            self.peer = as_peer(build(name, folder))
            convert_file(folder, folder / "model.h5")
            (folder / "open_clip_model.safetensors").unlink()
            self.models = {p: CLIP(folder / "model.h5", precision=p) for p in self.precisions}
            for model in self.models.values():  # read before the file goes
                model.encode_image(inputs_of(model.config, "image", 1))
                model.encode_text(inputs_of(model.config, "text", 1))
        self.config = self.models["fp32"].config

    def call(self, side: str, precision: str, x: np.ndarray) -> Callable[[], np.ndarray]:
        """nnclip's."""
        model = self.models[precision]
        encode = model.encode_image if side == "image" else model.encode_text
        return lambda: encode(x)

    def cell(self, side: str, batch: int, peer_bf16: TorchPeer | None) -> list[Contender]:
        """All who take part with a batch; call inside `torch_session`."""
        x, found = inputs_of(self.config, side, batch), []
        for p in self.precisions:
            found.append(Contender("nnclip", p, self.call(side, p, x), batch))
            found.append(fastest(ways_in_torch(self.peer, peer_bf16, f"encode_{side}", x, p)))
        return found


def features(family: str, pair: Pair) -> tuple[list[dict], dict[str, dict]]:
    """How far nnclip's features are from open_clip's, on both sides, in fp32."""
    import torch

    rows, ratios = [], {}
    for side in ("image", "text"):
        x = inputs_of(pair.config, side, 2)
        with torch.inference_mode():
            wanted = getattr(pair.peer, f"encode_{side}")(torch.from_numpy(x)).numpy()
        found = agreement(pair.call(side, "fp32", x)(), wanted)
        rows.append({"model": family, "tower": side, "features": found})
        label = f"{family} {side} features, largest error against open_clip"
        ratios[label] = judged({"value": found["largest_error"]}, most=LIMIT)
    return rows, ratios


def speeds(
    family: str, pair: Pair, batches: Sequence[int], rounds: int, patience: float
) -> tuple[list[dict], dict[str, dict]]:
    """How fast both are, by side, batch and precision."""
    rows: list[dict] = []
    ratios: dict[str, dict] = {}
    peer_bf16 = lowered(pair.peer) if "bf16" in pair.precisions else None
    with torch_session():
        for side in ("image", "text"):
            for batch in batches:
                cell = pair.cell(side, batch, peer_bf16)
                take_turns(cell, rounds, patience)
                new = [row(c, model=family, tower=side, batch=batch) for c in cell]
                print_rows(f"{family} {side}, batch {batch}", new)
                rows += new
                for ours, theirs in zip(cell[::2], cell[1::2], strict=True):
                    label = f"{family} {side} {ours.precision}, batch {batch}, against open_clip"
                    ratios[label] = judged(ratio(ours, theirs), least=TARGET)
    return rows, ratios


def table(results: dict) -> list[str]:
    """Lines of Markdown: images a second in batches of 8, beside open_clip's."""
    lines = ["| family | name | precision | images a second | open_clip |", "|---|---|---|---|---|"]
    for family, told in results.get("named", {}).items():
        rows = [
            r for r in results["rows"]
            if (r["model"], r["tower"], r.get("batch")) == (family, "image", max(BATCHES))
        ]  # fmt: skip
        best: dict[str, dict] = {}
        for one in sorted(rows, key=lambda r: r["per_second"]["median"]):
            best[one["implementation"]] = one
        if len(best) == 2:
            ours, theirs = best["nnclip"], best["open_clip"]
            speeds_told = [f"{one['per_second']['median']:.4g}" for one in (ours, theirs)]
            cells = (family, f"`{told['name']}`", ours["precision"], *speeds_told)
            lines.append(f"| {' | '.join(cells)} |")
    return lines


def main(argv: Sequence[str] | None = None) -> int:
    """Measure every family asked for, print tables and the JSON line."""
    first, *_ = (__doc__ or "").splitlines()
    parser = argparse.ArgumentParser(description=first)
    add_arguments(parser, [name for name in FAMILIES if name not in LARGE], rounds=9)
    parser.add_argument("--features-only", action="store_true", help="no stopwatch")
    parser.add_argument("--table", type=Path, help="only print such a file as a table")
    args = parser.parse_args(argv)
    if args.table:
        print("\n".join(table(json.loads(args.table.read_text()))))
        return 0
    names = ["CoCa"] if args.quick else args.models.split(",")
    for name in (name for name in names if name not in FAMILIES):
        raise SystemExit(f"--models {name}: expected some of {', '.join(FAMILIES)}")
    batches = [int(b) for b in args.batches.split(",")] if args.batches else BATCHES
    rounds = min(args.rounds, 3) if args.quick else args.rounds
    report = Report("families", args.out)
    for family in (name for name in names if not report.has(name)):
        pair = Pair(FAMILIES[family], report)
        rows, ratios = features(family, pair)
        if not args.features_only:
            patience = QUICK_PATIENCE if args.quick else PATIENCE
            more = speeds(family, pair, batches, rounds, patience)
            rows, ratios = rows + more[0], ratios | more[1]
        report.add(family, rows, ratios, named={"name": FAMILIES[family]})
        del pair
    report.finish()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
