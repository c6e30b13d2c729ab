"""Import from and export to the official PyTorch implementation (ttt-lm-pytorch, `TTTConfig`)."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ttt_config import InnerConfig, ModelConfig
from ttt_config.errors import CheckpointMismatchError, IncompatibleError
from ttt_layer.layer import TTTLayer
from ttt_layer.model import TTTModel

_OFFICIAL_DEFAULTS: dict[str, Any] = {
    "vocab_size": 32000,
    "hidden_size": 2048,
    "intermediate_size": 5504,
    "num_hidden_layers": 24,
    "num_attention_heads": 32,
    "hidden_act": "silu",
    "rms_norm_eps": 1e-6,
    "rope_theta": 10000.0,
    "tie_word_embeddings": True,
    "initializer_range": 0.02,
    "ttt_layer_type": "linear",
    "ttt_base_lr": 1.0,
    "mini_batch_size": 16,
    "pre_conv": False,
    "conv_kernel": 4,
    "share_qk": False,
    "use_gate": False,
}
"""What `TTTConfig` assumes for a field its configuration leaves out."""


class _Entry(NamedTuple):
    """One official parameter, which is a parameter of ours or some rows of one."""

    name: str
    shape: tuple[int, ...]


def from_official(state_dict: Mapping[str, Tensor], config: Mapping[str, Any]) -> TTTModel:
    """Build a model from official weights.

    Args:
        state_dict: tensors under the official keys; `lm_head.weight` may be left out where it is
            tied to the embedding.
        config: fields of the official `TTTConfig`; missing ones take its defaults, ones that do
            not concern the function are ignored.

    Returns:
        The model, in the dtype of the embedding.

    Raises:
        IncompatibleError: the configuration asks for what this implementation does not have.
        CheckpointMismatchError: tensors are missing, left over or of the wrong shape; names them.
    """
    official = {**_OFFICIAL_DEFAULTS, **config}
    if official["ttt_layer_type"] not in ("linear", "mlp") or official["hidden_act"] != "silu":
        raise IncompatibleError(
            f"official configuration has ttt_layer_type {official['ttt_layer_type']!r} and "
            f"hidden_act {official['hidden_act']!r}, expected 'linear' or 'mlp', and 'silu'"
        )
    model = TTTModel(
        ModelConfig(
            vocab_size=official["vocab_size"],
            hidden_size=official["hidden_size"],
            num_layers=official["num_hidden_layers"],
            num_heads=official["num_attention_heads"],
            intermediate_size=official["intermediate_size"],
            layer_type=official["ttt_layer_type"],
            rope_theta=official["rope_theta"],
            pre_conv=official["pre_conv"],
            share_qk=official["share_qk"],
            use_gate=official["use_gate"],
            conv_kernel=official["conv_kernel"],
            tie_embeddings=official["tie_word_embeddings"],
            rms_norm_eps=official["rms_norm_eps"],
            init_std=official["initializer_range"],
            inner=InnerConfig(
                base_lr=official["ttt_base_lr"], mini_batch_size=official["mini_batch_size"]
            ),
        )
    )
    entries = _entries(model)
    given = dict(state_dict)
    if model.lm_head is None:
        given.pop("lm_head.weight", None)
    _check_tensors(given, {entry for parts in entries.values() for entry in parts})
    model.to(given["model.embed_tokens.weight"].dtype)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parts = torch.cat([given[entry.name] for entry in entries[name]])
            parameter.copy_(parts.reshape(parameter.shape))
    return model


def to_official(model: TTTModel) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Write a model in the official form: tensors under official keys, and `TTTConfig` fields.

    Raises:
        IncompatibleError: the model has something the official code cannot express.
    """
    config = model.config
    kinds = {config.mix.layer(i).kind for i in range(config.num_layers)}
    expressible = {
        "one inner kind, linear or mlp": kinds in ({"linear"}, {"mlp"}),
        "pos_encoding rope": config.pos_encoding == "rope",
        "expansion_factor 4": kinds == {"linear"} or config.inner.expansion_factor == 4,
        "inner eps 1e-6": config.inner.eps == 1e-6,
    }
    missing = [need for need, met in expressible.items() if not met]
    if missing:
        raise IncompatibleError(f"the official code only has: {', '.join(missing)}")
    entries = _entries(model)
    tensors = {
        entry.name: part.clone().reshape(entry.shape)
        for name, p in model.named_parameters()
        for entry, part in zip(entries[name], p.detach().chunk(len(entries[name])), strict=True)
    }
    official = {
        "vocab_size": config.vocab_size,
        "hidden_size": config.hidden_size,
        "intermediate_size": config.intermediate_size,
        "num_hidden_layers": config.num_layers,
        "num_attention_heads": config.num_heads,
        "hidden_act": "silu",
        "rms_norm_eps": config.rms_norm_eps,
        "rope_theta": config.rope_theta,
        "tie_word_embeddings": config.tie_embeddings,
        "initializer_range": config.init_std,
        "ttt_layer_type": kinds.pop(),
        "ttt_base_lr": config.inner.base_lr,
        "mini_batch_size": config.inner.mini_batch_size,
        "pre_conv": config.pre_conv,
        "conv_kernel": config.conv_kernel,
        "share_qk": config.share_qk,
        "use_gate": config.use_gate,
    }
    return tensors, official


def _check_tensors(given: Mapping[str, Tensor], expected: set[_Entry]) -> None:
    names = {entry.name for entry in expected}
    problems = [f"missing {name}" for name in sorted(names - given.keys())]
    problems += [f"unexpected {name}" for name in sorted(given.keys() - names)]
    problems += [
        f"{entry.name} has shape {tuple(given[entry.name].shape)}, expected {entry.shape}"
        for entry in sorted(expected)
        if entry.name in given and tuple(given[entry.name].shape) != entry.shape
    ]
    if problems:
        shown = "; ".join(problems[:8]) + ("; ..." if len(problems) > 8 else "")
        raise CheckpointMismatchError(f"official weights do not fit their configuration: {shown}")


_TOP = {
    "embed.weight": "model.embed_tokens.weight",
    "norm.weight": "model.norm.weight",
    "lm_head.weight": "lm_head.weight",
}
_BLOCK = {
    "pre_conv_norm.weight": "conv.norm.weight",
    "pre_conv.weight": "conv.conv.weight",
    "pre_conv.bias": "conv.conv.bias",
    "ttt_norm.weight": "seq_norm.weight",
    "mlp_norm.weight": "ffn_norm.weight",
    "mlp.down_proj.weight": "mlp.down_proj.weight",
}
_TTT = {
    "o_proj.weight": "o_proj.weight",
    "q_conv.weight": "conv_q.weight",
    "q_conv.bias": "conv_q.bias",
    "k_conv.weight": "conv_k.weight",
    "k_conv.bias": "conv_k.bias",
    "post_norm.weight": "post_norm.weight",
    "post_norm.bias": "post_norm.bias",
    "eta.weight": "learnable_ttt_lr_weight",
    "eta.bias": "learnable_ttt_lr_bias",
    "eta.token_idx": "learnable_token_idx",
    "inner.norm_weight": "ttt_norm_weight",
    "inner.norm_bias": "ttt_norm_bias",
    "inner.weights.0": "W1",
    "inner.weights.1": "W2",
    "inner.biases.0": "b1",
    "inner.biases.1": "b2",
}
_MIXER = "seq_modeling_block"
_PROJECTED = {"q": "q_proj", "k": "k_proj", "v": "v_proj", "gate": "g_proj"}
_WITH_EXTRA_AXIS = ("eta.weight", "eta.bias", "inner.biases.0", "inner.biases.1")
"""Tensors to which the official code adds an axis of length one behind the heads."""


def _entries(model: TTTModel) -> dict[str, list[_Entry]]:
    """Official names and shapes of what each of the model's parameters consists of, row by row."""
    projected = next(m.projected for m in model.modules() if isinstance(m, TTTLayer))
    inside = {
        **{ours: [theirs] for ours, theirs in _BLOCK.items()},
        **{f"ttt.{ours}": [f"{_MIXER}.{theirs}"] for ours, theirs in _TTT.items()},
        "mlp.gate_up_proj.weight": ["mlp.gate_proj.weight", "mlp.up_proj.weight"],
        "ttt.in_proj.weight": [f"{_MIXER}.{_PROJECTED[part]}.weight" for part in projected],
    }
    entries: dict[str, list[_Entry]] = {}
    for name, parameter in model.named_parameters():
        shape = tuple(parameter.shape)
        if name in _TOP:
            entries[name] = [_Entry(_TOP[name], shape)]
            continue
        _, layer, local = name.split(".", 2)
        if local.removeprefix("ttt.") in _WITH_EXTRA_AXIS:
            shape = (shape[0], 1, *shape[1:])
        parts = inside[local]
        entries[name] = [
            _Entry(f"model.layers.{layer}.{part}", (shape[0] // len(parts), *shape[1:]))
            for part in parts
        ]
    return entries
