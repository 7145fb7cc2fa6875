"""Every setting of a run, in one place: its default, its flag and what it does."""

import dataclasses
import math
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

from nnclip.errors import ConfigError
from nnclip.graph.losses import LOSSES
from nnclip.image import Decoding
from nnclip.training.limits import LIMITS


def option(
    default: Any, help_text: str, *flags: str, choices: Collection[str] | None = None
) -> Any:
    """A field of `TrainConfig` with its flags; without any, the field's name is the flag."""
    return field(default=default, metadata={"help": help_text, "flags": flags, "choices": choices})


@dataclass(frozen=True)
class TrainConfig:
    """A run of the trainer; every field is a flag of train.py and a key of its YAML files."""

    # Data
    train: str = option(
        "",
        "pairs to train on: table, COCO .json, folder or WebDataset shards",
        "--train-txt-path",
        "--train-data",
    )
    val: str = option("", "pairs to validate on", "--val-txt-path", "--val-data")
    image_root: str = option("", "folder that relative image paths begin in (default: the table's)")
    csv_img_key: str = option("filepath", "column of image paths")
    csv_caption_key: str = option("title", "column of captions")
    separator: str = option("", "of a table: one character, or tab (default: its header's)")
    every_caption: bool = option(
        False, "COCO: each caption is a pair of its own (default: one random caption per image)"
    )
    keep_together: int = option(
        1, "rows that are shuffled as one: hard negatives written side by side meet in one batch"
    )
    workers: int = option(
        -1, "processes that decode images, per rank (default: what the cores allow)"
    )
    max_bad: int = option(
        1000, "broken images, empty captions and ambiguous rows that are left out before stopping"
    )
    preview: str = option("", "image to write before step 1: a batch as the model sees it")
    crop_scale: float = option(0.9, "least share of an image that the random crop keeps")
    aspect_jitter: float = option(
        4 / 3, "largest ratio of the random crop's sides, which are stretched to a square (1: none)"
    )
    color_jitter: float = option(
        0.0, "by how much brightness, contrast and saturation change, and four times the hue"
    )
    color_jitter_share: float = option(0.8, "of images whose colours change")
    grayscale: float = option(0.0, "share of images that lose their colours")
    augment: bool = option(True, "change images by chance; off, they are as in validation")
    group_captions: bool = option(
        False, "rows of one image are one pair, of whose captions each epoch draws one"
    )
    caption_dropout: float = option(0.0, "share of a caption's words that are left out")
    templates: str = option(
        "",
        "texts with {}, of which each caption goes into one: a name such as simple, a text, or a "
        "file",
    )
    exact_pixels: bool = option(
        False, "decode every pixel of large images (default: what the resolution needs)"
    )
    as_seen: bool = option(True, "turn photos upright as their EXIF tag says")

    # Model
    finetuning: bool = option(False, "go on from --model-load-path", "-ft", "--finetuning")
    model_load_path: str = option(
        "ViT-B/32", "what -ft goes on from: an .h5, a published name, or bundled"
    )
    model: str = option(
        "ViT-B/32",
        "size to train from scratch: a name (--model list shows all), or spelled out, such as "
        "vit:64,8,128,3+gpt:128,3 (pixels, patch, width, layers; width, layers)",
    )
    image_size: int = option(0, "resolution in pixels (default: the model's own)")
    context_length: int = option(
        0, "tokens of a caption (default: the model's own)", "--context-length", "--context_length"
    )
    tokenizer: str = option("", "vocabulary of train-tokenizer (default: the model's, or OpenAI's)")

    # Step
    batch_size: int = option(64, "pairs per rank and step", "-b", "--batch-size")
    micro_batch_size: int = option(
        0, "pairs whose activations are held at once; the step equals that of the whole batch"
    )
    aggregate: bool = option(False, "contrast over the pairs of all ranks", "-ag", "--aggregate")
    loss: str = option(
        "",
        "softmax is CLIP's, sigmoid is SigLIP's (default: the model's own; from scratch, softmax)",
        choices=LOSSES,
    )
    distil: str = option(
        "", "teacher, an .h5 or a published name: its probabilities are learned beside the pairs"
    )
    distil_cache: str = option(
        "", "folder of the teacher's features (default: features in --monitor-path)"
    )
    freeze: str = option(
        "",
        "parameters that stay: image, text, or names with * (comma-separated); none unfreezes "
        "what the model file has frozen",
    )
    lora: str = option(
        "", "RANK[:ALPHA]: train low-rank adapters (LoRA) instead of the model; saved merged"
    )
    lora_target: str = option(
        "attention,mlp", "matrices with adapters: attention, mlp, or names with *"
    )
    batch_norm: str = option(
        "auto",
        "statistics of a ResNet's normalisations: of each batch, moving the model's, or the "
        "model's, frozen (default: frozen with -ft)",
        choices=("auto", "trained", "frozen"),
    )
    recompute: bool = option(False, "recompute activations in the backward pass: less memory")

    # Optimiser
    epochs: float = option(30.0, "passes over the pairs", "-ep", "--epochs")
    max_iter: int = option(0, "steps (default: what --epochs says)", "-i", "--max-iter")
    solver: str = option("AdamW", "how parameters move", choices=("AdamW", "Adam", "Lamb", "Lars"))
    lr: float = option(5e-4, "learning rate after the warm-up (fine-tuning wants 1e-5 or less)")
    lr_image: float = option(-1.0, "learning rate of the image tower (default: --lr)")
    lr_text: float = option(-1.0, "learning rate of the text tower (default: --lr)")
    layer_decay: float = option(
        1.0, "what each layer's rate is multiplied by for the one below it, in both towers"
    )
    beta1: float = option(0.9, "of the running mean of the gradients")
    beta2: float = option(0.98, "of the running mean of their squares")
    eps: float = option(1e-6, "of Adam")
    wd: float = option(
        -1.0, "decay in NNabla's units, torch's times the learning rate (default: none)"
    )
    weight_decay: float = option(0.2, "weight decay in torch's units; --wd replaces it")
    clip_norm: float = option(0.0, "largest norm of the gradient (0: no limit)")
    ema: float = option(
        0.0, "decay of a running average of the weights, which is validated and saved (0: none)"
    )
    wise_ft: float = option(
        1.0,
        "share of the fine-tuned weights in the saved model, the rest being those of the start",
    )
    schedule: str = option("cosine", "after the warm-up", choices=("cosine", "constant"))
    warmup_iter: float = option(
        10000.0, "steps of warm-up, or below 1 their share of the run", "-wi", "--warmup-iter"
    )
    seed: int = option(412, "of the initialisation, the order and the crops")

    # Machine
    context: str = option("", "cpu or cudnn (default: what is there)", "-c", "--context")
    type_config: str = option(
        "float",
        "float, or half: bfloat16 on CPUs, float16 with loss scaling on GPUs",
        "-t",
        "--type-config",
        choices=("float", "half"),
    )
    tf32: str = option(
        "off",
        "let float32 products on a GPU round to TF32 (Ampere and later)",
        choices=("off", "on"),
    )
    device_id: int = option(-1, "GPU (default: the rank's number on its host)", "-d", "--device-id")
    engine: str = option(
        "auto", "compiled step or NNabla's own", choices=("auto", "compiled", "nnabla")
    )
    timeout: float = option(600.0, "seconds that ranks wait for each other before the job ends")

    # Output
    monitor_path: str = option(
        "",
        "folder of logs, curves and checkpoints (default: the next free runs/train-NUMBER; with "
        "--resume, the one that is resumed)",
        "-m",
        "--monitor-path",
    )
    model_save_path: str = option(
        "", "the trained model (default: model.h5 in --monitor-path)", "-o", "--model-save-path"
    )
    overwrite: bool = option(
        False, "remove the run that --monitor-path holds, and replace --model-save-path"
    )
    dry_run: bool = option(
        False, "check everything, say what would happen, end: steps, memory, time of a step"
    )
    model_save_interval: int = option(1000, "steps between checkpoints")
    keep_last: int = option(2, "checkpoints that are kept")
    resume: str = option("", "latest, or a checkpoint: go on where it stopped")
    val_interval: int = option(0, "steps between validations (default: an epoch)")
    eval: tuple[str, ...] = option(
        (), "zero-shot:DIR or retrieval:FILE: measured while training; may be given again"
    )
    eval_interval: int = option(0, "steps between these (default: those between validations)")
    log_interval: int = option(10, "steps between two lines of the log")
    check_interval: int = option(
        500, "steps between checks that all ranks hold the same parameters"
    )
    tensorboard: bool = option(False, "write TensorBoard files")
    wandb: str = option("", "Weights & Biases project to log to")

    def __post_init__(self) -> None:
        for entry in dataclasses.fields(self):
            value = getattr(self, entry.name)
            if isinstance(value, float) and not math.isfinite(value):
                raise ConfigError(f"{flag_of(entry.name)}: found {value}, expected a number")
        for name, limits in LIMITS.items():
            if not limits.holds(getattr(self, name)):
                raise ConfigError(
                    f"{flag_of(name)}: found {getattr(self, name)}, expected {limits.said}"
                )
        if self.wise_ft < 1 and not self.finetuning:
            raise ConfigError("--wise-ft: found no start to average with, expected -ft")
        if self.lora and not self.finetuning:
            raise ConfigError("--lora: found no model to adapt, expected -ft")
        if self.lora and self.freeze.split(",")[0].strip() == "none":
            raise ConfigError("--freeze none: found --lora, which trains adapters alone")
        if self.distil and self.templates:
            raise ConfigError(
                "--templates: found --distil, whose teacher reads captions as they are"
            )
        if self.lora and self.wise_ft < 1:
            raise ConfigError("--wise-ft: found --lora; nnclip average mixes the saved model")
        if self.context not in ("", "cpu", "cudnn"):
            raise ConfigError(f"--context: found {self.context!r}, expected cpu or cudnn")
        if self.micro_batch_size < 0 or (
            self.micro_batch_size and self.batch_size % self.micro_batch_size
        ):
            raise ConfigError(
                f"--micro-batch-size: found {self.micro_batch_size}, expected a divisor of the "
                f"batch size {self.batch_size}"
            )
        for entry in dataclasses.fields(self):
            choices = entry.metadata["choices"]
            if choices and getattr(self, entry.name) not in (entry.default, *choices):
                raise ConfigError(
                    f"{flag_of(entry.name)}: found {getattr(self, entry.name)!r}, expected one of "
                    f"{', '.join(choices)}"
                )

    @property
    def decoding(self) -> Decoding:
        """How image files are read."""
        return Decoding(self.exact_pixels, self.as_seen)

    @property
    def decay(self) -> float:
        """Weight decay in torch's units."""
        if self.wd < 0:
            return self.weight_decay
        return self.wd / self.lr if self.lr else 0.0


def flag_of(name: str) -> str:
    """The long flag of a field."""
    fields = {entry.name: entry for entry in dataclasses.fields(TrainConfig)}
    flags = fields[name].metadata["flags"]
    long = [flag for flag in flags if flag.startswith("--")]
    return long[0] if long else "--" + name.replace("_", "-")


def shown_default(entry: "dataclasses.Field[Any]") -> str:
    """A field's default as a reader wants it; empty where the help says what happens by default."""
    if "(default" in entry.metadata["help"]:
        return ""
    if entry.default == ():
        return ""
    if isinstance(entry.default, bool):
        return "on" if entry.default else "off"
    return f"{entry.default:g}" if isinstance(entry.default, float) else str(entry.default)
