"""What a run reports of itself: its start, its evaluations, its end."""

from collections import Counter

import torch

from ttt_config import ModelConfig, RunConfig
from ttt_core import choose_kernels
from ttt_data import Tokenizer
from ttt_layer import TTTModel
from ttt_training.data import TrainingData
from ttt_training.device import describe_device, device_of
from ttt_training.evaluation import Evaluation, measure_inner_loss
from ttt_training.events import EvalRecord, RunStarted, TrainResult
from ttt_training.length import tokens_per_step


def summarize_start(
    config: RunConfig, tokenizer: Tokenizer, data: TrainingData, model: TTTModel
) -> RunStarted:
    """Say what a run is made of."""
    shape = config.model
    return RunStarted(
        out=config.out,
        documents=data.documents,
        tokens=data.tokens,
        text_bytes=data.text_bytes,
        tokenizer=config.data.tokenizer,
        vocab_size=tokenizer.vocab_size,
        model=f"{shape.layer_type}, {shape.num_layers} layers of width {shape.hidden_size}",
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        device=describe_device(device_of(model)),
        kernel=describe_kernel(shape, device_of(model).type),
        steps=config.train.steps,
        tokens_per_step=tokens_per_step(config),
        unigram_entropy=data.unigram_entropy,
        left_out=list(data.left_out),
    )


def describe_kernel(config: ModelConfig, device_type: str) -> str:
    """Say which kernel computes the inner loop, and why; by layers where they differ.

    Raises:
        KernelUnavailableError: `config.inner.kernel` cannot run there.
    """
    choices = Counter(choose_kernels(config, device_type))
    if len(choices) == 1:
        ((choice, _),) = choices.items()
        return f"{choice.kernel} ({choice.reason})"
    return "; ".join(
        f"{choice.kernel} in {count} layer{'s' if count > 1 else ''} ({choice.reason})"
        for choice, count in choices.items()
    )


def summarize_evaluation(
    step: int, found: Evaluation, data: TrainingData, model: TTTModel
) -> EvalRecord:
    """Say what an evaluation found, and what the inner models learn from one validation batch.

    It draws no random numbers, so a run is the same however often it is evaluated.
    """
    batch = next(data.validation.in_order())
    inner = measure_inner_loss(model, torch.from_numpy(batch.inputs).to(device_of(model)))
    return EvalRecord(
        step=step,
        val_loss=found.loss,
        val_loss_error=found.loss_error,
        val_ppl=found.perplexity,
        val_bpb=found.bits_per_byte,
        inner_loss_before=inner.before if inner else None,
        inner_loss_after=inner.after if inner else None,
    )


def summarize_end(
    config: RunConfig, data: TrainingData, validation: EvalRecord, checkpoint: str
) -> TrainResult:
    """Say what a run came to, by its last evaluation."""
    return TrainResult(
        out=config.out,
        checkpoint=checkpoint,
        steps=validation.step,
        val_loss=validation.val_loss,
        val_ppl=validation.val_ppl,
        val_bpb=validation.val_bpb,
        unigram_entropy=data.unigram_entropy,
        inner_loss_before=validation.inner_loss_before,
        inner_loss_after=validation.inner_loss_after,
    )
