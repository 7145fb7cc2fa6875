"""`nnclip join`: one model of an image side and a text side, with or without heads."""

import argparse
import dataclasses
import json
from pathlib import Path

from nnclip.errors import CheckpointError, ConfigError
from nnclip.graph.heads import FORMS, HeadConfig
from nnclip.graph.losses import Scorer
from nnclip.weights.finding import find_model
from nnclip.weights.heads import HeadWeights, load_head
from nnclip.weights.join import Sides, join, load_sides, new_head
from nnclip.weights.model import save_model

HELP = "make one model of an image tower and a text tower, and put heads on them"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's flags."""
    parser.add_argument("image", help="an .h5 or published name: the image side is taken")
    parser.add_argument("text", help="an .h5 or published name: the text side is taken")
    parser.add_argument("-o", "--output", type=Path, required=True, help="the .h5 to write")
    add_head_arguments(parser)
    for side in ("image", "text"):
        parser.add_argument(
            f"--{side}-head", type=Path, metavar="FILE", help=f"put this head on the {side} side"
        )
    parser.add_argument("--half", action="store_true", help="store float16")
    parser.add_argument("--json", action="store_true", help="print one JSON line")


def add_head_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags that say what new heads are like."""
    parser.add_argument(
        "--heads",
        choices=(*FORMS, "none"),
        help="put new heads on both sides: "
        + ", ".join(f"{form} ({layers} of --head-layers)" for form, layers in FORMS.items())
        + "; or leave out those that the files have",
    )
    parser.add_argument("--head-layers", type=int, metavar="N", help="layers, whatever the form")
    parser.add_argument("--width", type=int, default=512, help="of the heads' output (%(default)s)")
    parser.add_argument(
        "--dropout", type=float, default=0.5, help="share that training drops (%(default)s)"
    )
    parser.add_argument("--seed", type=int, default=412, help="of new heads (%(default)s)")


def run(args: argparse.Namespace) -> int:
    """Join, write, say what it is."""
    sides = with_new_heads(load_sides(find_model(args.image), find_model(args.text)), args)
    given = {"image": args.image_head, "text": args.text_head}
    heads = {side: load_head(path) for side, path in given.items() if path is not None}
    for side, head in heads.items():
        if head.side != side:
            raise CheckpointError(
                f"--{side}-head {given[side]}: found the {head.side} side's head, expected the "
                f"{side} side's"
            )
    told = [head.scorer for head in heads.values() if head.scorer is not None]
    model = join(
        dataclasses.replace(sides, heads={**sides.heads, **heads}, scorer=[sides.scorer, *told][-1])
    )
    save_model(args.output, model, half=args.half)
    config = model.config
    towers = [tower.kind for tower in (config.image, config.text)]
    heads_of = {"image": config.image_head, "text": config.text_head}
    layers = {side: head.layers for side, head in heads_of.items() if head is not None}
    if args.json:
        about = dict(zip(("image", "text"), towers, strict=True))
        print(
            json.dumps({"path": str(args.output), "embed": config.embed, **about, "heads": layers})
        )
    else:
        on = ", ".join(f"{side} head with {n} layer(s)" for side, n in layers.items())
        print(
            f"{args.output}: {' and '.join(towers)}, {on or 'no heads'}, {config.embed} dimensions"
        )
    return 0


def with_new_heads(sides: Sides, args: argparse.Namespace) -> Sides:
    """The sides with the heads that the flags of `add_head_arguments` ask for."""
    if args.heads is None:
        return sides
    if args.heads == "none":
        return dataclasses.replace(sides, heads={})
    layers = FORMS[args.heads] if args.head_layers is None else args.head_layers
    if layers < 0 or args.width < 1 or not 0 <= args.dropout < 1:
        raise ConfigError(
            f"heads: found {layers} layers, width {args.width} and dropout {args.dropout}; "
            "expected none or more, at least 1, and 0 to below 1"
        )
    heads: dict[str, HeadWeights] = {}
    for side, tower in (("image", sides.image), ("text", sides.text)):
        config = HeadConfig(tower.width, args.width, layers, args.dropout)
        heads[side] = new_head(side, config, args.seed)
    loss = sides.scorer.loss  # a new space begins anew
    return dataclasses.replace(sides, heads=heads, scorer=Scorer(loss, loss.scalars))
