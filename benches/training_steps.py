"""Training steps to be timed: whole, without their inner loop, or with it under autograd."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor

from ttt_config import RunConfig, resolve
from ttt_config.train import Dtype
from ttt_core.inner import InnerModel
from ttt_data import Batch
from ttt_kernels.reference import InnerParameters, SGDUpdate, scan
from ttt_layer import TTTModel
from ttt_training.device import default_device
from ttt_training.learner import Learner
from ttt_training.step import take_step

VOCAB_SIZE = 32000


def model_config(kind: str, size: str, tokens: int, *, batch_size: int, dtype: Dtype) -> RunConfig:
    """A model of 32,000 tokens, as the paper's, and how it is trained."""
    values = {
        "size": size,
        "layer_type": kind,
        "vocab_size": VOCAB_SIZE,
        "max_seq_len": tokens,
        "dtype": dtype,
        "batch_size": batch_size,
    }
    return resolve(("bench", values)).config


def training_step(config: RunConfig, *, eager: bool = False) -> Callable[[], None]:
    """Make a function that takes a whole training step on the default device, optimizer and all."""
    torch.manual_seed(0)
    model = TTTModel(config.model).to(default_device())
    learner = Learner.build(model, config.train)
    shape = (config.train.batch_size, config.model.max_seq_len)
    ids = torch.randint(0, VOCAB_SIZE, shape).numpy()
    batch = Batch(ids, ids)

    def step() -> None:
        with eager_inner_loop() if eager else nullcontext():
            take_step(learner, batch, step=1, settings=config.train)

    return step


def without_inner_loop(step: Callable[[], None]) -> Callable[[], None]:
    """Let the inner models add up what they are given, so that gradients still reach all of it."""

    def answer(*arguments: Any) -> tuple[Tensor, object]:  # noqa: ANN401
        _, q, k, v, _, lr, state = arguments
        return q + k + v + lr.unsqueeze(-1).to(q.dtype), state

    def bare() -> None:
        with patch.object(InnerModel, "forward", answer):
            step()

    return bare


@contextmanager
def eager_inner_loop() -> Iterator[None]:
    """Let the public functions be the scan under autograd."""

    def run(
        *arguments: Any,  # noqa: ANN401 - those of `ttt_mlp`
        mini_batch_size: int,
        eps: float,
        **_options: object,
    ) -> tuple[Tensor, tuple[Tensor, ...], tuple[Tensor, ...]]:
        q, k, v, token_eta, lr, weights, biases, ln_w, ln_b = arguments
        start = InnerParameters(tuple(weights), tuple(biases))
        out, end = scan(
            *(q, k, v, token_eta, lr, start, ln_w, ln_b),
            update=SGDUpdate(),
            mini_batch_size=mini_batch_size,
            eps=eps,
        )
        return out, end.weights, end.biases

    def run_linear(*arguments: Any, **options: Any) -> tuple[Tensor, Tensor, Tensor]:  # noqa: ANN401
        *tokens, weight, bias, ln_w, ln_b = arguments
        out, weights, biases = run(*tokens, (weight,), (bias,), ln_w, ln_b, **options)
        return out, weights[0], biases[0]

    with (
        patch("ttt_core.linear.ttt_linear", run_linear),
        patch("ttt_core.mlp.ttt_mlp", run),
    ):
        yield
