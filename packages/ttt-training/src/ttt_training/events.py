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
    kernel: str
    """Which computes the inner loop, and why, for people."""
    steps: int
    tokens_per_step: int
    left_out: list[str] = []
    """What could not be used of the text, a line for each kind of problem."""
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
    data_time_s: float
    """Of a step, waiting for its batch; mean since the last record."""
    peak_memory_bytes: int
    """Of the device, or of the process on a CPU, since the start."""


class EvalRecord(msgspec.Struct, frozen=True, kw_only=True, tag="eval", tag_field="event"):
    """One evaluation on the validation split."""

    step: int
    val_loss: float
    """Nats a token."""
    val_loss_error: float
    """Its standard error over windows; null in JSON if there was only one."""
    val_ppl: float
    """exp(val_loss)."""
    val_bpb: float
    """Bits a byte of text, comparable between tokenizers."""
    inner_loss_before: float | None = None
    """Inner loss of each mini-batch of one validation batch under the fast weights it met, mean
    over layers, heads and mini-batches; None if no window holds a whole mini-batch."""
    inner_loss_after: float | None = None
    """The same under the fast weights that have learned from it."""


class RunResumed(msgspec.Struct, frozen=True, kw_only=True, tag="resume", tag_field="event"):
    """A run goes on from a checkpoint."""

    step: int
    checkpoint: str
    skipped: list[str]
    """Newer checkpoints that cannot be used, and why."""
    changed: list[str]
    """Settings that differ from those the run was begun with."""


class RunWarning(msgspec.Struct, frozen=True, kw_only=True, tag="warning", tag_field="event"):
    """Something went wrong and the run goes on."""

    step: int
    message: str


class RunStopped(msgspec.Struct, frozen=True, kw_only=True, tag="stop", tag_field="event"):
    """A signal ended the run; it can be resumed."""

    step: int
    signal: str


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
    """Of the last evaluation, as `EvalRecord.inner_loss_before`."""
    inner_loss_after: float | None
    """The same, `EvalRecord.inner_loss_after`."""


TrainEvent = (
    RunStarted
    | RunResumed
    | StepRecord
    | EvalRecord
    | CheckpointSaved
    | RunWarning
    | RunStopped
    | TrainResult
)
