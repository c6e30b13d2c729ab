"""Train the official PyTorch code and ours side by side: same weights, same tokens, AdamW.

    python scripts/compare_official.py                    # ours alone
    python scripts/compare_official.py PATH/TO/ttt.py     # both; it needs transformers 4.44

Weights and tokens are drawn by numpy from the names of the tensors, so no file is needed for them.
With `--write FILE` the official losses are kept, as `tests/golden` has them.
"""

import argparse
import importlib.util
import json
import sys
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from ttt_layer.official import from_official

STEPS = 50
ROWS, LENGTH, VOCABULARY = 2, 65, 64
CONFIG: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "mini_batch_size": 16,
    "tie_word_embeddings": True,
}
KINDS = ("linear", "mlp")
TOLERANCE = 1e-4


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("official", nargs="?", type=Path, help="the official ttt.py")
    parser.add_argument("--write", type=Path, help="keep the official losses in this file")
    options = parser.parse_args(arguments)
    golden: dict[str, list[float]] = {}
    good = True
    for kind in KINDS:
        ours = train_ours(kind)
        print(f"{kind}: ours {ours[0]:.6f} -> {ours[-1]:.6f}")
        if options.official is not None:
            golden[kind] = train_official(kind, options.official)
            worst = max(abs(a - b) for a, b in zip(ours, golden[kind], strict=True))
            good &= worst <= TOLERANCE
            print(f"{kind}: official {golden[kind][0]:.6f} -> {golden[kind][-1]:.6f}, ", end="")
            print(f"largest difference of {STEPS} losses {worst:.1e}")
    if options.write is not None and golden:
        options.write.write_text(json.dumps(golden, indent=1) + "\n")
    return 0 if good else 1


def train_ours(kind: str) -> list[float]:
    """Return the losses of our model."""
    model = from_official(official_weights(kind), {**CONFIG, "ttt_layer_type": kind})
    return losses(model, model)


def train_official(kind: str, path: Path) -> list[float]:
    """Return the losses of the official model, its code taken from a file."""
    spec = importlib.util.spec_from_file_location("official_ttt", path)
    if spec is None or spec.loader is None:
        raise FileNotFoundError(path)
    module = importlib.util.module_from_spec(spec)
    sys.modules["official_ttt"] = module
    spec.loader.exec_module(module)
    model = module.TTTForCausalLM(module.TTTConfig(**CONFIG, ttt_layer_type=kind))
    weights = official_weights(kind)
    missing = model.load_state_dict(weights, strict=False).missing_keys
    if set(missing) - {"lm_head.weight"}:
        raise KeyError(missing)
    return losses(model, lambda ids: model(input_ids=ids, use_cache=False).logits)


def losses(model: nn.Module, read: Callable[[Tensor], Tensor]) -> list[float]:
    """Take `STEPS` steps and return the loss before each."""
    optimizer = torch.optim.AdamW(model.parameters(), 1e-3, betas=(0.9, 0.95), weight_decay=0.1)
    found: list[float] = []
    for step in range(STEPS):
        ids = tokens(step)
        logits = read(ids[:, :-1]).float()
        loss = cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten())
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        found.append(loss.item())
    return found


def tokens(step: int) -> Tensor:
    """Return the text of a step, (ROWS, LENGTH): a walk that can be learned to half."""
    dice = np.random.default_rng(step)
    steps = dice.integers(0, 2, (ROWS, LENGTH)) * 7 + 1
    return torch.from_numpy(
        (dice.integers(0, VOCABULARY, (ROWS, 1)) + steps.cumsum(1)) % VOCABULARY
    )


def official_weights(kind: str) -> dict[str, Tensor]:
    """Return random weights under the official names."""
    width, heads, layers = (
        CONFIG[name] for name in ("hidden_size", "num_attention_heads", "num_hidden_layers")
    )
    dim, inner, wide = width // heads, CONFIG["intermediate_size"], 4 * (width // heads)
    shapes: dict[str, tuple[int, ...]] = {
        "model.embed_tokens.weight": (VOCABULARY, width),
        "model.norm.weight": (width,),
    }
    first = (heads, dim, dim) if kind == "linear" else (heads, dim, wide)
    for layer in range(layers):
        block = f"model.layers.{layer}."
        mixer = f"{block}seq_modeling_block."
        shapes |= {f"{mixer}{name}_proj.weight": (width, width) for name in "qkvo"}
        shapes |= {f"{block}{name}_norm.weight": (width,) for name in ("seq", "ffn")}
        shapes |= {f"{block}mlp.{name}_proj.weight": (inner, width) for name in ("gate", "up")}
        shapes |= {
            f"{block}mlp.down_proj.weight": (width, inner),
            f"{mixer}W1": first,
            f"{mixer}b1": (heads, 1, first[-1]),
            f"{mixer}learnable_ttt_lr_weight": (heads, 1, width),
            f"{mixer}learnable_ttt_lr_bias": (heads, 1),
            f"{mixer}learnable_token_idx": (CONFIG["mini_batch_size"],),
            f"{mixer}ttt_norm_weight": (heads, dim),
            f"{mixer}ttt_norm_bias": (heads, dim),
            f"{mixer}post_norm.weight": (width,),
            f"{mixer}post_norm.bias": (width,),
        }
        if kind == "mlp":
            shapes |= {f"{mixer}W2": (heads, wide, dim), f"{mixer}b2": (heads, 1, dim)}
    return {name: _draw(name, shape) for name, shape in shapes.items()}


def _draw(name: str, shape: tuple[int, ...]) -> Tensor:
    """Numbers that follow from the name: around 1 for norms, around 0 for all else."""
    dice = np.random.default_rng(zlib.crc32(name.encode()))
    centre = 1.0 if name.endswith(("norm.weight", "norm_weight")) else 0.0
    scale = 0.02 if name.endswith(("bias", "idx", "b1", "b2")) or centre else 0.1
    return torch.from_numpy((centre + scale * dice.standard_normal(shape)).astype(np.float32))


if __name__ == "__main__":
    sys.exit(main())
