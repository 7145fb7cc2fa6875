"""A loaded model: images and texts in, features and probabilities out.

Arrays go through the compiled graph; NNabla Variables stay NNabla's, differentiable.

Axes: N images, M texts, L tokens, R resolution, E embedding.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from PIL import Image

from nnclip.calibration import Calibration
from nnclip.embeddings import unit
from nnclip.engine import Agreement
from nnclip.errors import CheckpointError, ConfigError, DataError
from nnclip.explaining import Explaining
from nnclip.exported import ExportedWeights, read_exported
from nnclip.fastest import AUTO, LEAST_COSINE, fastest
from nnclip.forks import NNABLA_LOCK
from nnclip.graph.beside import text_variables
from nnclip.graph.features import image_features, text_features
from nnclip.graph.losses import LOSSES, Scorer, scalar_parameters
from nnclip.graph.similarity import normalise, similarity
from nnclip.image import USUAL_DECODING, Decoding
from nnclip.nnabla import F, nn
from nnclip.towers import Towers, scales_dir
from nnclip.weights.digest import parameter_digest
from nnclip.weights.finding import find_model
from nnclip.weights.model import ModelWeights, load_model, save_model

Array = TypeVar("Array", np.ndarray, nn.Variable)


class CLIP(Explaining):
    """A model with parameters of its own.

    Attributes:
        config: what the model is.
        metadata: what its file said about it.
        tokenizer: the one it was trained with.
    """

    def __init__(
        self,
        source: str | Path | None = None,
        *,
        model_path: str | Path | None = None,
        precision: str | None = None,
        context: str = "cpu",
        streams: int | None = None,
        calibration: Sequence[Image.Image | np.ndarray] | None = None,
        calibration_texts: Sequence[str] | None = None,
        least_cosine: float = LEAST_COSINE,
        cache_dir: str | Path | None = None,
    ) -> None:
        """Load a model.

        Its file is mapped, not read, until the parameters are asked for: replace it by renaming
        another one onto it, as `save` does, rather than by writing into it.

        Args:
            source: an .h5 file; an exported folder, which answers arrays alone; a name (fetched
                once, then from the cache): "ViT-B/32", open_clip's "ViT-B-16-SigLIP2:webli", the
                hub's "hf-hub:timm/ViT-B-16-SigLIP2"; or None for the bundled model.
                `available_models` lists the names.
            model_path: `source`, by the keyword of System A's class (docs/systems.md).
            precision: "fp32", "bf16" or "int8", on a GPU "fp32", "tf32" or "fp16"; None asks
                NNCLIP_PRECISION, then takes the fastest exact-enough one of this processor (bf16
                where it is native), on a GPU fp32. "auto" measures, once for a model and a
                processor, which one is the fastest within `least_cosine`.
            context: "cpu", or the name of an NNabla extension such as "cudnn" ("cudnn:1" for the
                second GPU).
            streams: how many calls run side by side on the CPU; None for one call at full speed.
            calibration: a few dozen typical images, or what `preprocess` made of them, by which
                int8 chooses its scales before the first image is answered (some 10 to 60 seconds;
                they are kept in the cache for the next process); None for the images that come
                with nnclip. See `drifts` for what it costs.
            calibration_texts: the same for texts; None for the captions that come with nnclip.
            least_cosine: "auto" takes no precision in which a calibration image or text has a
                smaller cosine with its features in float32.
            cache_dir: folder in which compiled towers are kept for the next process, on the CPU:
                compiling takes half as long then, for about as much room on disk as the weights
                take in float32. int8 keeps its scales there, too.

        Raises:
            CheckpointError: the file is damaged, foreign or does not fit together.
            ConfigError: no such name, precision or context; no streams; both names of `source`; a
                folder that cannot be written, which shows when a tower is first used.
            DownloadError: the file cannot be fetched.
        """
        if source is not None and model_path is not None:
            raise ConfigError(
                f"found the model {source} and model_path={model_path}, expected one of them"
            )
        path = find_model(model_path if source is None else source)
        weights = _opened(path)
        self.path, self.config, self.metadata = path, weights.config, weights.metadata
        self._weights = weights
        self.tokenizer = self.config.text.tokenizer(self.metadata, path)
        typical = Calibration(self.config, self.tokenizer, calibration, calibration_texts)
        place = Path(cache_dir) if cache_dir is not None else None
        written = weights.tower if isinstance(weights, ExportedWeights) else None

        def towers(precision: str | None) -> Towers:
            return Towers(weights, precision, context, streams, typical, place, written)

        precision = precision or os.environ.get("NNCLIP_PRECISION")
        asked = precision
        if precision == AUTO and context == "cpu":
            folder = place or scales_dir()
            precision = fastest(weights, towers, typical, least_cosine, folder)
        self._towers = towers(precision)
        self._forget_explained()
        self._settings = {
            "precision": self.precision,
            "context": context,
            "streams": streams,
            "calibration": calibration,
            "calibration_texts": calibration_texts,
            "cache_dir": cache_dir,
        }
        for name, given in (("", calibration), ("_texts", calibration_texts)):
            if given is not None and self.precision != "int8" and asked != AUTO:
                raise ConfigError(
                    f"calibration{name}: found it with precision {self.precision}, expected it "
                    "with int8"
                )

    def __reduce__(self) -> tuple[Callable[..., "CLIP"], tuple[Any, ...]]:
        """Pickle and copy the model as its file, the digest of its parameters and its settings.

        Raises:
            CheckpointError: its parameters are not those of its file: they were changed since, or
                the file was.
        """
        digest = self.digest()
        if not self._weights.waiting and digest != parameter_digest(_opened(self.path)):
            raise CheckpointError(
                f"{self.path}: found parameters that were changed after it was loaded, expected "
                "those of the file, by which a model is pickled and copied; save it, and load what "
                "was saved"
            )
        return _unpickled, (type(self), self.path.resolve(), digest, self._settings)

    @property
    def precision(self) -> str:
        """How arrays are computed: "fp32", "bf16" or "int8"; on a GPU "fp32", "tf32", "fp16"."""
        return self._towers.precision

    @property
    def drift(self) -> Agreement | None:
        """Cosines of int8 features with fp32's on the calibration images, once there are some."""
        return self.drifts.get("image")

    @property
    def drifts(self) -> dict[str, Agreement]:
        """The same by side, "image" and "text", of those that have answered in int8."""
        return dict(self._towers.drifts)

    def parameters(self) -> dict[str, nn.Variable]:
        """Published name -> the NNabla Variable that the graph uses, for any solver.

        Arrays are computed with the values of the last compilation: call `refresh` after changing
        parameters. Until they are asked for, parameters stay in the file.

        Raises:
            CheckpointError: they have to be read, and the file was overwritten meanwhile.
        """
        with NNABLA_LOCK:
            return self._weights.variables()

    def refresh(self) -> None:
        """Let arrays be computed with the parameters' present values."""
        self._towers.clear()
        self._forget_explained()

    def digest(self) -> str:
        """What tells these parameters, with their present values, from others: 32 hex digits."""
        with NNABLA_LOCK:
            return parameter_digest(self._weights)

    def save(self, path: str | Path, *, half: bool = False) -> None:
        """Write the model as .h5, with `half` as float16; CheckpointError if that fails."""
        self.parameters()
        save_model(path, self._weights, half=half)

    def preprocess(self, image: Image.Image) -> np.ndarray:
        """An image -> (3, R, R) float32, resized, cropped and normalised as the model expects."""
        return self.config.image.preprocess(image)

    def preprocess_image(
        self, source: str | Path | BytesIO, decoding: Decoding = USUAL_DECODING
    ) -> np.ndarray:
        """An image file -> (1, 3, R, R) float32; DataError if it is none."""
        return self.preprocess(self.config.image.preprocess.open(source, decoding))[None]

    def preprocess_texts(self, texts: Sequence[str]) -> np.ndarray:
        """Texts -> (M, context) int32; DataError if one is too long."""
        return self.tokenize(texts)

    def tokenize(
        self, texts: str | Sequence[str], context_length: int | None = None, truncate: bool = False
    ) -> np.ndarray:
        """Texts -> (M, context_length) int32, filled up with padding.

        Args:
            texts: one or several.
            context_length: tokens a row; the model's own length if None.
            truncate: cut texts that are too long instead of raising DataError.
        """
        return self.tokenizer(texts, context_length or self.config.text.context, truncate)

    def encode_image(self, images: Array) -> Array:
        """Features of images, not normalised.

        Args:
            images: (N, 3, R, R) float, from `preprocess`. An ndarray is computed at once, by the
                compiled graph; a Variable becomes part of a differentiable graph.

        Returns: (N, E), of the kind that was given.

        Raises:
            DataError: another shape or kind of values, or NaN.
        """
        if isinstance(images, nn.Variable):
            size = self.config.image.resolution
            _check_shape("images", images.shape, (None, 3, size, size))
            return self._build(lambda: image_features(images, self.config))
        return self._towers.image(_array(images, "images"))

    def encode_text(self, ids: Array) -> Array:
        """Features of texts, not normalised.

        Args:
            ids: (M, L) integers from `tokenize`, L at most the model's context.

        Returns: (M, E), of the kind that was given.

        Raises:
            DataError: another shape or kind of values, or ids outside the vocabulary.
        """
        text = self.config.text
        if isinstance(ids, nn.Variable):
            _check_shape("ids", ids.shape, (None, None))
            if ids.shape[1] > text.context:
                raise DataError(
                    f"ids: found {ids.shape[1]} tokens, expected at most {text.context}"
                )
            texts = text_variables(ids, text)
            return self._build(lambda: text_features(texts, self.config))
        return self._towers.text(_array(ids, "ids"))

    def __call__(self, images: Array, ids: Array) -> tuple[Array, Array]:
        """The same as `logits`."""
        return self.logits(images, ids)

    def logits(self, images: Array, ids: Array) -> tuple[Array, Array]:
        """Cosine of every image with every text, times exp(logit_scale), plus logit_bias.

        Args:
            images: as for `encode_image`.
            ids: as for `encode_text`, of the same kind.

        Returns: per image (N, M), and per text (M, N).
        """
        _check_kinds(images, ids)
        per_image = self._compared(self.encode_image(images), self.encode_text(ids))
        if isinstance(per_image, nn.Variable):
            return per_image, F.transpose(per_image, (1, 0))
        return per_image, per_image.T

    def _compared(self, image: Array, text: Array) -> Array:
        """Logits (N, M) of features (N, E) and (M, E)."""
        if isinstance(image, nn.Variable):
            return self._build(lambda: self._similarity(image, text))
        return self.scorer.logits(unit(image) @ unit(text).T)

    def _similarity(self, image: nn.Variable, text: nn.Variable) -> nn.Variable:
        scalars = scalar_parameters(LOSSES[self.config.loss])
        return similarity(normalise(image), normalise(text), scalars)

    @property
    def scorer(self) -> Scorer:
        """What turns cosines into logits and probabilities: the loss that the file names."""
        loss = LOSSES[self.config.loss]
        return Scorer(loss, {name: float(self._weights.array(name)) for name in loss.scalars})

    @property
    def logit_scale(self) -> float:
        """exp of the parameter: what cosines are multiplied by, 100 in published models."""
        return self.scorer.scale

    @property
    def logit_bias(self) -> float:
        """What is added after that; 0 unless the model was trained with the sigmoid loss."""
        return self.scorer.bias

    def probabilities(self, images: Array, texts: Array) -> Array:
        """How likely each text is for each image, by the loss that the model was trained with.

        Args:
            images: (N, 3, R, R) float, or features (N, E) from `encode_image`.
            texts: (M, L) token ids beside images, features (M, E) from `encode_text` beside
                features; of the same kind as `images`.

        Returns: (N, M) float32, of the kind that was given. Of the softmax loss, rows sum to 1: one
            of the texts is taken to be right. Of the sigmoid loss, each text is judged apart.

        Raises:
            DataError: as `encode_image` and `encode_text`, or features of other shapes.
        """
        _check_kinds(images, texts)
        if len(images.shape) == 2:
            for name, features in (("image", images), ("text", texts)):
                _check_shape(f"{name} features", features.shape, (None, self.config.embed))
            per_image = self._compared(images, texts)
        else:
            per_image = self.logits(images, texts)[0]
        if isinstance(per_image, nn.Variable):
            return self.scorer.loss.answer(per_image)
        return self.scorer.loss.probabilities(per_image, -1)

    def run(self, image: str | Path | BytesIO, texts: Sequence[str]) -> np.ndarray:
        """An image file and M texts -> the probability of each text, (M,) float32."""
        return self.probabilities(self.preprocess_image(image), self.preprocess_texts(texts))[0]

    def _build(self, build: Callable[[], nn.Variable]) -> nn.Variable:
        """Part of the caller's graph, in the caller's mode, with this model's parameters."""
        with NNABLA_LOCK:
            self._weights.variables()
            with nn.parameter_scope("", scope=self._weights.scope):
                return build()


def _unpickled(kind: type[CLIP], path: Path, digest: str, settings: Mapping[str, Any]) -> CLIP:
    """The model that was pickled; CheckpointError if its file is not there any more as it was."""
    model = kind(path, **settings)
    if model.digest() != digest:
        raise CheckpointError(
            f"{path}: found other parameters than those of the model that was pickled, expected "
            "the same file; load it, or pickle a model of the present file"
        )
    return model


def _opened(path: Path) -> ModelWeights:
    return read_exported(path) if path.is_dir() else load_model(path, mapped=True)


def _array(value: object, name: str) -> np.ndarray:
    if not isinstance(value, np.ndarray):
        raise DataError(
            f"{name}: found {type(value).__name__}, expected a numpy array or an nnabla Variable"
        )
    return value


def _check_kinds(images: object, texts: object) -> None:
    for name, value in (("images", images), ("texts", texts)):
        if not isinstance(value, nn.Variable):
            _array(value, name)
    if isinstance(images, nn.Variable) != isinstance(texts, nn.Variable):
        raise DataError("images and texts: found a Variable and an array, expected the same kind")


def _check_shape(name: str, found: tuple[int, ...], expected: tuple[int | None, ...]) -> None:
    fits = len(found) == len(expected) and all(
        e in (None, f) for f, e in zip(found, expected, strict=True)
    )
    if not fits:
        wanted = ", ".join("N" if e is None else str(e) for e in expected)
        raise DataError(f"{name}: found shape {found}, expected ({wanted})")
