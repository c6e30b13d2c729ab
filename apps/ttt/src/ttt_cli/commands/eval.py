"""`ttt eval`: what a trained model is worth on text it was not trained on."""

import csv
import io
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import msgspec
import typer

from ttt_cli.app import new_app
from ttt_cli.generation import KernelName, Run, TokenizerName, check_tokenizer
from ttt_cli.options import Common, common_options
from ttt_cli.progress import table
from ttt_config import ConfigError, InvalidValueError

if TYPE_CHECKING:
    from ttt_training.evaluation_report import EvaluationReport, Gain

app = new_app()

_CSV_COLUMNS = ("kind", "name", "tokens", "loss", "loss_error", "gain", "gain_low", "gain_high")


@app.command("eval")
@common_options
def evaluate(
    run: Run,
    common: Common,
    checkpoint: Annotated[
        str | None,
        typer.Option("--checkpoint", metavar="STEP", help="A step, `best` or `latest`."),
    ] = None,
    split: Annotated[
        Literal["train", "val", "test"], typer.Option("--split", help="Which part of the text.")
    ] = "val",
    data: Annotated[
        str | None, typer.Option("--data", metavar="SOURCE", help="Other text than the run's.")
    ] = None,
    max_seq_len: Annotated[
        int | None,
        typer.Option("--max-seq-len", "--seq-len", help="Tokens of a window; as in training."),
    ] = None,
    samples: Annotated[
        int | None, typer.Option("--samples", help="Windows, the first of the text; all of them.")
    ] = None,
    batch: Annotated[
        int | None, typer.Option("--batch", "--batch-size", help="Windows read at once.")
    ] = None,
    dtype: Annotated[
        Literal["f32", "bf16", "f16"] | None,
        typer.Option("--dtype", help="Arithmetic; as in training."),
    ] = None,
    gain: Annotated[
        bool,
        typer.Option("--gain/--no-gain", help="Measure again without inner learning."),
    ] = True,
    kernel: KernelName = None,
    tokenizer_name: TokenizerName = None,
    csv_file: Annotated[
        str | None, typer.Option("--csv", metavar="FILE", help="Also write the tables here.")
    ] = None,
) -> None:
    """Measure a trained model on its validation text, or on any other.

    Loss, perplexity and bits a byte with their standard errors; the loss by position in the window
    and, on chronicles, by kind of token; and what learning at test time wins: the same weights with
    the fast weights kept as they begin, on the same windows.
    """
    for name, value in (("--max-seq-len", max_seq_len), ("--batch", batch), ("--samples", samples)):
        if value is not None and value < 1:
            raise InvalidValueError(f"{name} is {value}, expected 1 or more")

    from ttt_training import load_run
    from ttt_training.evaluation_report import Wanted, report_run
    from ttt_training.load import checkpoint_path
    from ttt_training.run_dir import find_run

    found, given = find_run(Path(run))
    path = given or checkpoint_path(found.path, checkpoint or "latest")
    model, tokenizer, config = load_run(path, kernel=kernel)
    check_tokenizer(tokenizer_name, tokenizer, run)
    changed = msgspec.structs.replace(
        config,
        model=msgspec.structs.replace(
            config.model, max_seq_len=max_seq_len or config.model.max_seq_len
        ),
        train=msgspec.structs.replace(config.train, batch_size=batch or config.train.batch_size),
        data=msgspec.structs.replace(config.data, source=data or config.data.source),
    )
    wanted = Wanted(split=split, samples=samples, dtype=dtype or config.train.dtype, gain=gain)
    report = report_run(
        model,
        tokenizer,
        changed,
        checkpoint=path,
        trained_seq_len=config.model.max_seq_len,
        wanted=wanted,
    )
    if csv_file is not None:
        _write(Path(csv_file), _to_csv(report))
    print(msgspec.json.encode(report).decode() if common.json else _describe(report))


def _describe(report: "EvaluationReport") -> str:
    """Write a report for people."""
    override = "" if report.seq_len == report.trained_seq_len else " (overridden)"
    rows = [
        ("checkpoint", f"{report.run}, {report.checkpoint}"),
        ("text", f"{report.source}, {report.split}, {report.documents:,} documents"),
        ("windows", f"{report.windows:,} of {report.seq_len:,} tokens{override}"),
        ("tokens", f"{report.tokens:,}"),
        ("loss", f"{report.loss:.4f} +- {report.loss_error:.4f} nats a token"),
        ("perplexity", f"{report.perplexity:.2f} +- {report.perplexity_error:.2f}"),
        ("bits/byte", f"{report.bits_per_byte:.4f} +- {report.bits_per_byte_error:.4f}"),
    ]
    if report.gain is not None:
        rows.append(("TTT gain", f"{_interval(report.gain)} nats a token by inner learning"))
    rows += [
        (f"after {each.start:,}", _row(each.loss, each.loss_error, each.gain))
        for each in report.by_position
        if each.tokens
    ]
    rows += [
        (each.name, f"{_row(each.loss, each.loss_error, each.gain)}  ({each.tokens:,} tokens)")
        for each in report.by_class
        if each.tokens
    ]
    return table(rows)


def _row(loss: float, error: float, gain: "Gain | None") -> str:
    won = "" if gain is None else f"  gain {_interval(gain)}"
    return f"{loss:.4f} +- {error:.4f}{won}"


def _interval(gain: "Gain") -> str:
    return f"{gain.value:+.4f} ({gain.low:+.4f} to {gain.high:+.4f})"


def _to_csv(report: "EvaluationReport") -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_CSV_COLUMNS)
    writer.writerows(_csv_rows(report))
    return text.getvalue()


def _csv_rows(report: "EvaluationReport") -> Iterator[tuple[object, ...]]:
    def gains(gain: "Gain | None") -> tuple[object, ...]:
        return ("", "", "") if gain is None else (gain.value, gain.low, gain.high)

    yield ("all", "", report.tokens, report.loss, report.loss_error, *gains(report.gain))
    for each in report.by_position:
        name = f"{each.start}-{each.stop - 1}"
        yield ("position", name, each.tokens, each.loss, each.loss_error, *gains(each.gain))
    for kind in report.by_class:
        yield ("class", kind.name, kind.tokens, kind.loss, kind.loss_error, *gains(kind.gain))


def _write(path: Path, text: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    except OSError as error:
        raise ConfigError(f"--csv: cannot write `{path}`: {error.strerror}") from error
