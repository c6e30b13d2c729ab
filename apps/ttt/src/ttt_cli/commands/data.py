"""`ttt data`: prepare, fetch, look at, check and export training data."""

import os
import sys
from typing import Annotated, Literal

import typer

from ttt_cli.app import new_app
from ttt_cli.data_errors import as_options, resumable
from ttt_cli.data_report import (
    Peeked,
    describe_fetched,
    describe_foreign,
    describe_peeked,
    describe_prepared,
    describe_store,
    download_text,
    foreign_facts,
    progress_text,
    store_facts,
    to_json,
)
from ttt_cli.options import Common, common_options
from ttt_cli.progress import ProgressLine
from ttt_config import (
    DataConfig,
    InvalidValueError,
    ModelConfig,
    TokenStoreCorruptError,
    TrainConfig,
)

app = new_app("Prepare, fetch, look at, check and export training data.")

StoreFolder = Annotated[
    str, typer.Argument(metavar="DIR", help="A folder that `ttt data prepare` wrote.")
]
SplitOption = Annotated[
    Literal["train", "val", "test"], typer.Option("--split", help="Which part of the text.")
]


@app.command()
@common_options
def prepare(
    sources: Annotated[
        list[str],
        typer.Argument(
            metavar="SOURCE...",
            help="chronicles, stdlib, - for stdin, a text, JSON lines or Parquet file, a folder, "
            "a pattern in quotes, or hf://owner/repo.",
        ),
    ],
    common: Common,
    out: Annotated[str, typer.Option("--out", metavar="DIR", help="Folder to write.")],
    tokenizer: Annotated[
        str,
        typer.Option(
            "--tokenizer", help="bpe-4096, bytes, a tokenizer.json, or a name on the hub."
        ),
    ] = DataConfig().tokenizer,
    workers: Annotated[
        int | None, typer.Option("--workers", help="Processes that encode; as many as cores.")
    ] = None,
    shard_tokens: Annotated[
        int, typer.Option("--shard-tokens", help="Tokens in a file; what a kill can cost.")
    ] = 100_000_000,
    text_field: Annotated[
        str, typer.Option("--text-field", help="Key or column that holds the text.")
    ] = "text",
    separator: Annotated[
        str | None,
        typer.Option("--separator", help="Stands between the documents of a text file; \\n: line."),
    ] = None,
    on_bad: Annotated[
        Literal["stop", "skip"], typer.Option("--on-bad", help="What to do at a bad document.")
    ] = "stop",
    val_fraction: Annotated[
        float, typer.Option("--val-fraction", help="Share of documents held out for validation.")
    ] = DataConfig().val_fraction,
    test_fraction: Annotated[
        float, typer.Option("--test-fraction", help="Share held out for the final test.")
    ] = 0.0,
    documents: Annotated[
        int, typer.Option("--documents", help="Chronicles in the training split.")
    ] = DataConfig().documents,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace what is in the folder.")
    ] = False,
) -> None:
    """Turn text into tokens that `ttt train --data DIR` reads.

    When it was interrupted, the same command goes on where it stopped.
    """
    from ttt_data import prepare as preparation
    from ttt_data.readers import open_source

    with as_options(), resumable(), ProgressLine(quiet=common.quiet) as line:
        opened = [
            open_source(
                spec,
                text_field=text_field,
                separator=separator and separator.replace("\\n", "\n"),
                on_bad=on_bad,
                val_fraction=val_fraction,
                test_fraction=test_fraction,
                num_documents=documents,
                progress=lambda done, total: line.show(download_text(done, total)),
            )
            for spec in sources
        ]
        result = preparation.prepare(
            opened,
            out,
            tokenizer=tokenizer,
            workers=workers or _num_cores(),
            shard_tokens=shard_tokens,
            overwrite=overwrite,
            progress=lambda progress: line.show(progress_text(progress)),
        )
    print(to_json(result) if common.json else describe_prepared(result))


@app.command()
@common_options
def fetch(
    recipe: Annotated[
        str,
        typer.Argument(metavar="RECIPE", help="tinystories, fineweb10b-gpt2, fineweb-edu, pg19."),
    ],
    common: Common,
    out: Annotated[str, typer.Option("--out", metavar="DIR", help="Folder for the files.")],
    limit: Annotated[
        int | None, typer.Option("--limit", help="Fetch only so many of the training files.")
    ] = None,
    repo: Annotated[
        str | None, typer.Option("--repo", help="Another dataset on the hub with the same files.")
    ] = None,
    revision: Annotated[
        str | None, typer.Option("--revision", help="Another commit, branch or tag.")
    ] = None,
) -> None:
    """Download a well-known dataset; an interrupted download goes on, a finished one is checked."""
    from ttt_data import hub

    with as_options(), resumable(), ProgressLine(quiet=common.quiet) as line:
        result = hub.fetch(
            hub.find_recipe(recipe, repo=repo, revision=revision),
            out,
            limit=limit,
            progress=lambda done, total: line.show(download_text(done, total)),
        )
    print(to_json(result) if common.json else describe_fetched(result))


@app.command()
@common_options
def info(
    folder: Annotated[
        str,
        typer.Argument(metavar="DIR", help="A prepared folder, or token files of another program."),
    ],
    common: Common,
) -> None:
    """Say what a prepared folder holds, or the token files of another program."""
    from ttt_data.corpus import is_store
    from ttt_data.store import TokenStore, token_files

    if not is_store(folder) and (files := token_files(folder)):
        foreign = foreign_facts(folder, files)
        print(to_json(foreign) if common.json else describe_foreign(foreign))
        return
    facts = store_facts(TokenStore.open(folder))
    print(to_json(facts) if common.json else describe_store(facts))


@app.command()
@common_options
def peek(
    source: Annotated[
        str,
        typer.Argument(metavar="SOURCE", help="A prepared folder, or what --data of train takes."),
    ],
    common: Common,
    window: Annotated[
        int, typer.Option("--window", metavar="G", help="Number of the sample in a run.")
    ] = 0,
    split: SplitOption = "train",
    seq_len: Annotated[
        int, typer.Option("--seq-len", metavar="T", help="Tokens the model reads at once.")
    ] = ModelConfig().max_seq_len,
    seed: Annotated[
        int, typer.Option("--seed", metavar="S", help="Seed of the run.")
    ] = TrainConfig().seed,
    mode: Annotated[
        Literal["packed", "docs"], typer.Option("--mode", help="As of the run.")
    ] = DataConfig().mode,
    tokenizer: Annotated[
        str, typer.Option("--tokenizer", help="As of the run; a prepared folder has its own.")
    ] = DataConfig().tokenizer,
) -> None:
    """Show a sample as `ttt train` reads it: its tokens, and the one to be predicted at the end.

    Training samples come in the order that the seed gives them, the others in that of the text.
    """
    from ttt_data import Loader, Tokenizer, TokenStore, open_corpus
    from ttt_data.corpus import is_store
    from ttt_data.seeds import derive_seed

    if window < 0:
        raise InvalidValueError(f"--window is {window}, expected 0 or more")
    if seq_len < 1:
        raise InvalidValueError(f"--seq-len is {seq_len}, expected 1 or more")
    own = TokenStore.open(source).tokenizer_path if is_store(source) else tokenizer
    coder = Tokenizer.load(own)
    loader = Loader(
        open_corpus(source, coder).split(split),
        seq_len=seq_len,
        global_batch_size=1,
        seed=derive_seed(seed, "batches"),
        mode=mode,
        shuffle=split == "train",
    )
    batch, sample = loader.batch(window), loader.samples(window)
    ids = [*batch.inputs[0].tolist(), int(batch.targets[0, -1])]
    seen = Peeked(
        split=split,
        sample=window,
        epoch=int(sample.epoch[0]),
        window=int(sample.window[0]),
        num_windows=loader.num_windows,
        first_token=int(sample.start[0]),
        token_ids=ids,
        text=coder.decode(ids, skip_special=False),
    )
    print(to_json(seen) if common.json else describe_peeked(seen))


@app.command()
@common_options
def verify(folder: StoreFolder, common: Common) -> None:
    """Check every byte of a prepared folder against its manifest."""
    from ttt_data.store import verify_store

    problems = verify_store(folder)
    if common.json:
        print(to_json({"folder": folder, "problems": problems}))
    elif problems or not common.quiet:
        print("\n".join(map(str, problems)) or "every byte is as it was written")
    if problems:
        first, *others = problems
        if first.file == "manifest.json":  # which is then all there is to say, folder included
            raise TokenStoreCorruptError(first.message)
        more = f" (and {len(others)} more)" if others else ""
        raise TokenStoreCorruptError(f"`{folder}` is not as it was written: {first}{more}")


@app.command()
@common_options
def export(
    folder: StoreFolder,
    common: Common,
    to: Annotated[
        Literal["nanogpt", "llmc", "megatron", "npy", "ptok"],
        typer.Option("--to", help="Format: that of nanoGPT, llm.c, Megatron-LM, numpy or ttt-rs."),
    ],
    out: Annotated[str, typer.Option("--out", metavar="PATH", help="The file to write.")],
    split: SplitOption = "train",
    row_length: Annotated[
        int | None, typer.Option("--row-length", help="ptok: tokens in a row; the rest is cut off.")
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the file, if there is one.")
    ] = False,
) -> None:
    """Write a split in the format of another program."""
    from ttt_data.store import TokenStore, export_split

    store = TokenStore.open(folder)
    with as_options():
        exported = export_split(
            store.split(split),
            out,
            to,
            row_length=row_length,
            pad_id=store.manifest.pad_id,
            overwrite=overwrite,
        )
    if common.json:
        print(to_json(exported))
    elif not common.quiet:
        cut = f"; {exported.num_dropped:,} were cut off" if exported.num_dropped else ""
        print(f"{exported.num_tokens:,} tokens in {', '.join(map(str, exported.files))}{cut}")


def _num_cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
