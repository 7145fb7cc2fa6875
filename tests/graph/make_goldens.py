"""Makes the arrays in tests/graph/goldens: what open_clip computes with two tiny models.

    python -m tests.graph.make_goldens

Each model is an .h5 with float16 weights (which both sides read alike) and an .npz with inputs,
hidden states, features, logits, loss and gradients. With them the graph is tested without torch.
"""

from pathlib import Path

import numpy as np

from nnclip.convert.answers import Answers, inputs_of
from nnclip.convert.names import to_foreign
from nnclip.convert.source import DIALECTS
from nnclip.convert.tensors import of_array
from nnclip.graph.config import BlockConfig, ClipConfig, TextConfig, VitConfig, metadata_of
from nnclip.graph.parameters import expected_shapes
from nnclip.image import Preprocess
from nnclip.weights.h5 import read_h5, write_h5

FOLDER = Path(__file__).parent / "goldens"
PAIRS = 2
MODELS = {
    "quick_gelu": ClipConfig(
        embed=12,
        image=VitConfig(Preprocess(12), 4, BlockConfig(16, 2, 2, 64)),
        text=TextConfig(64, 10, BlockConfig(12, 2, 3, 48)),
    ),
    "gelu": ClipConfig(
        embed=12,
        image=VitConfig(Preprocess(14), 4, BlockConfig(12, 2, 3, 20, "gelu", 1e-6)),
        text=TextConfig(64, 10, BlockConfig(16, 2, 1, 64, "gelu", 1e-6)),
    ),
}


def random_arrays(config: ClipConfig, seed: int) -> dict[str, np.ndarray]:
    """Weights of a size that lets every number matter."""
    random = np.random.RandomState(seed)  # its stream is the same in every version of NumPy
    arrays = {}
    for name, shape in expected_shapes(config).items():
        fan_in = int(np.prod(shape[1:])) if len(shape) > 1 else 4
        values = random.standard_normal(shape) / np.sqrt(fan_in)
        gain = name.endswith("/W") and len(shape) == 1
        arrays[name] = np.asarray(values + gain, np.float32)
    arrays["logit_scale"] = np.asarray(2.5, np.float32)
    return arrays


def flat(answers: Answers) -> dict[str, np.ndarray]:
    """Answers as the arrays of an .npz; `read` in test_goldens.py is the inverse."""
    found = {"logits": answers.logits, "loss": np.asarray(answers.loss)}
    for tower, states in answers.hidden.items():
        found[f"features/{tower}"] = answers.features[tower]
        found.update({f"hidden/{tower}/{i}": state for i, state in enumerate(states)})
    found.update({f"gradients/{name}": g for name, g in answers.gradients.items()})
    return found


def make(folder: Path) -> None:
    """Write both models and what open_clip makes of them."""
    import torch

    from nnclip.convert import reference

    dialect = DIALECTS["open_clip"]
    folder.mkdir(parents=True, exist_ok=True)
    for seed, (name, config) in enumerate(MODELS.items()):
        h5 = folder / f"{name}.h5"
        write_h5(h5, random_arrays(config, seed), metadata_of(config), half=True)
        tensors = {k: of_array(a) for k, a in read_h5(h5).arrays.items()}
        foreign = to_foreign(tensors, dialect.names.writing((config.image, config.text)))
        model = dialect.build(config)
        model.load_state_dict({k: torch.from_numpy(t.read().copy()) for k, t in foreign.items()})
        images, ids = inputs_of(config, PAIRS, seed)
        answers = reference.answers(dialect, model, config, images, ids)
        np.savez_compressed(folder / f"{name}.npz", images=images, ids=ids, **flat(answers))


if __name__ == "__main__":
    make(FOLDER)
