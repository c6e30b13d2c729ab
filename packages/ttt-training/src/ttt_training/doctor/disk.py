"""Where the run will be written: whether it can be, how fast, and whether there is room."""

import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from ttt_config import RunConfig
from ttt_training.doctor.finding import Finding, ok, problem, warning

TRIAL_BYTES = 64 * 2**20
SLOW_S = 60.0
"""A checkpoint that takes longer to write holds the training up."""


def check_disk(config: RunConfig) -> Iterator[Finding]:
    """Write, sync and remove a file beside the run to be; compare room and speed with its plan."""
    from ttt_training.dry_run import checkpoint_bytes, existing_parent

    folder = existing_parent(Path(config.out).absolute())
    try:
        speed = write_speed(folder)
    except OSError as error:
        fix = "choose another place with --out, or make room there"
        yield problem("disk", f"cannot write in {folder}: {error.strerror}", fix)
        return
    one = checkpoint_bytes(config)
    kept = config.train.keep_last + 2  # that of the lowest loss, and the one being written
    free = shutil.disk_usage(folder).free
    found = (
        f"{folder}: {_size(free)} free for {kept} checkpoints of {_size(one)}, "
        f"written at {speed / 1e6:,.0f} MB/s"
    )
    if free < kept * one:
        fix = "make room, choose another place with --out, or keep fewer with --keep-last"
        yield problem("disk", found, fix)
    elif one / speed > SLOW_S:
        fix = "choose a local disk with --out, or save less often with --save-every"
        yield warning("disk", f"{found}: {one / speed:,.0f} s each", fix)
    else:
        yield ok("disk", found)


def write_speed(folder: Path) -> float:
    """Bytes a second that reach the disk, not only memory.

    Raises:
        OSError: the folder cannot be written, or is full.
    """
    block = os.urandom(2**20)  # a disk that compresses must not gain by it
    with tempfile.NamedTemporaryFile(dir=folder, prefix=".ttt-doctor-") as file:
        start_s = time.perf_counter()
        for _ in range(TRIAL_BYTES // len(block)):
            file.write(block)
        file.flush()
        os.fsync(file.fileno())
        return TRIAL_BYTES / (time.perf_counter() - start_s)


def _size(num_bytes: float) -> str:
    return f"{num_bytes / 1e9:,.1f} GB" if num_bytes >= 1e9 else f"{num_bytes / 1e6:,.1f} MB"
