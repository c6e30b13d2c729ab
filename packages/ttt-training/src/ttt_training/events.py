"""What a run reports while it goes on; `train` hands each to its `on_event`.

The step and evaluation records are also the lines of metrics.jsonl. All encode as JSON objects
whose `event` tells them apart.
"""

import msgspec


class RunStarted(msgspec.Struct, frozen=True, kw_only=True, tag="start", tag_field="event"):
    """Everything is built and training is about to begin."""

    out: str
    """Directory the run writes."""
    documents: int
    """Documents of the training split, as `tokens` and `text_bytes`."""
    tokens: int
    text_bytes: int
    tokenizer: str
    vocab_size: int
    model: str
    """Its inner models and size, for people."""
    parameters: int
    """Trainable numbers in the model."""
    device: str
    steps: int
    tokens_per_step: int
    unigram_entropy: float
    """Entropy of the training tokens' frequencies, nats a token: the loss of a model that knows
    how often each token occurs and nothing else."""


class StepRecord(msgspec.Struct, frozen=True, kw_only=True, tag="step", tag_field="event"):
    """One logged optimizer step."""

    step: int
    """Optimizer steps taken, this one included."""
    loss: float
    """Mean training loss of this step's batch before the update, nats a token."""
    lr: float
    grad_norm: float
    """Global norm of the gradient before clipping."""
    tokens: int
    """Training tokens read since the start of the run."""
    tokens_per_s: float
    """Over the steps since the last record, without evaluations and saves."""


class EvalRecord(msgspec.Struct, frozen=True, kw_only=True, tag="eval", tag_field="event"):
    """One evaluation on the validation split."""

    step: int
    val_loss: float
    """Nats a token."""
    val_ppl: float
    """exp(val_loss)."""
    val_bpb: float
    """Bits a byte of text, comparable between tokenizers."""


class CheckpointSaved(
    msgspec.Struct, frozen=True, kw_only=True, tag="checkpoint", tag_field="event"
):
    """A checkpoint was committed."""

    step: int
    path: str


class TrainResult(msgspec.Struct, frozen=True, kw_only=True, tag="done", tag_field="event"):
    """Training has ended; what it came to."""

    out: str
    checkpoint: str
    """The last checkpoint."""
    steps: int
    val_loss: float
    val_ppl: float
    val_bpb: float
    unigram_entropy: float
    inner_loss_before: float | None
    """Inner loss of each mini-batch of one validation batch under the fast weights it met, mean
    over layers, heads and mini-batches; None if no window holds a whole mini-batch."""
    inner_loss_after: float | None
    """The same under the fast weights that have learned from it."""


TrainEvent = RunStarted | StepRecord | EvalRecord | CheckpointSaved | TrainResult
