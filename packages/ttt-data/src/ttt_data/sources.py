"""Where training text comes from: the built-in corpus, a text file, or a folder of text files."""

import hashlib
import math
from pathlib import Path

from msgspec import Struct

from ttt_config.errors import DataError
from ttt_data import chronicles

DEFAULT_NUM_DOCUMENTS = 2000
DEFAULT_VAL_FRACTION = 0.05


class Texts(Struct, frozen=True):
    """Documents to train on and documents held out."""

    train: list[str]
    val: list[str]


def read_texts(
    source: str | Path,
    *,
    num_documents: int = DEFAULT_NUM_DOCUMENTS,
    val_fraction: float = DEFAULT_VAL_FRACTION,
    seed: int = 0,
) -> Texts:
    """Read the documents of a source and hold some out; the same call gives the same split.

    `chronicles` has a validation stream of its own. A folder that holds `train.txt` and `val.txt`
    (or folders `train` and `val`) is split as it says. In any other folder whole files are held
    out, chosen by a hash of their names, so a file added later moves few others. A single file is
    one document and is cut near the end of a line; its last part is held out.

    Args:
        source: `chronicles`, a `.txt` file, or a folder with `.txt` files at any depth.
        num_documents: chronicles in the training split; those held out come on top.
        val_fraction: share of the documents (of the bytes, for one file) held out, in (0, 1).
        seed: of the chronicles; text files do not depend on it.

    Raises:
        DataError: there is no such source, or no usable text in it.
    """
    if not 0 < val_fraction < 1:
        raise DataError(f"val_fraction must lie between 0 and 1, got {val_fraction}")
    if str(source) == "chronicles":
        if num_documents < 1:
            raise DataError(f"num_documents must be 1 or more, got {num_documents}")
        num_val = math.ceil(num_documents * val_fraction)
        train = chronicles.documents("train", num_documents, seed=seed)
        val = chronicles.documents("val", num_val, seed=seed)
        return Texts([doc.text for doc in train], [doc.text for doc in val])
    path = Path(source)
    if path.is_dir():
        return _read_folder(path, val_fraction)
    if not path.exists():
        raise DataError(
            f"no such data source: `{source}`; expected chronicles, a .txt file or a folder of them"
        )
    if path.suffix != ".txt":
        raise DataError(
            f"cannot read `{source}`: expected a .txt file, got `{path.suffix or path.name}`"
        )
    return _cut(_read(path), path, val_fraction)


def _read_folder(folder: Path, val_fraction: float) -> Texts:
    train, val = _text_files(folder, "train"), _text_files(folder, "val")
    if train and val:
        return Texts([_read(path) for path in train], [_read(path) for path in val])
    files = sorted(folder.rglob("*.txt"))
    if not files:
        raise DataError(f"no .txt file in the folder `{folder}` or below it")
    if len(files) == 1:
        return _cut(_read(files[0]), files[0], val_fraction)
    num_val = min(math.ceil(len(files) * val_fraction), len(files) - 1)
    held_out = set(sorted(files, key=lambda path: _name_hash(path, folder))[:num_val])
    return Texts(
        [_read(path) for path in files if path not in held_out],
        [_read(path) for path in files if path in held_out],
    )


def _text_files(folder: Path, split: str) -> list[Path]:
    """The files a folder names for a split: `train.txt`, or all below `train/`."""
    file = folder / f"{split}.txt"
    return [file] if file.is_file() else sorted((folder / split).rglob("*.txt"))


def _name_hash(path: Path, folder: Path) -> bytes:
    return hashlib.sha256(path.relative_to(folder).as_posix().encode()).digest()


def _read(path: Path) -> str:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"cannot read `{path}`: {error.strerror}") from error
    try:
        text = data.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        raise DataError(
            f"`{path}` is not UTF-8: {error.reason} at byte {error.start}; convert it first"
        ) from error
    if not text.strip():
        raise DataError(f"`{path}` is empty")
    return text


def _cut(text: str, path: Path, val_fraction: float) -> Texts:
    """Split one text in two, its end held out, between lines or at least between words."""
    wanted = len(text) - max(1, round(len(text) * val_fraction))
    reach = max(1, (len(text) - wanted) // 2)
    cuts = [
        text.rfind(border, max(0, wanted - reach), wanted) + 1
        or text.find(border, wanted, wanted + reach) + 1
        for border in ("\n", " ")
    ]
    for cut in (*cuts, wanted):
        if text[:cut].strip() and text[cut:].strip():
            return Texts([text[:cut]], [text[cut:]])
    raise DataError(f"`{path}` is too short to be split into training and validation text")
