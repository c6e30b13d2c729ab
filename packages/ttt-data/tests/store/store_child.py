"""Writes a fixed corpus in processes that die, for test_store_crash.py.

    python store_child.py write FOLDER
    python store_child.py limited FOLDER BYTES     no file may grow larger
    python store_child.py killed-at-random FOLDER KILLS
    python store_child.py killed-everywhere FOLDER [overwrite]

The last two leave finished stores in `FOLDER/0`, `FOLDER/1` and so on. Every writer there was
killed and followed by another, at random moments until KILLS writers died, or before its k-th file
operation for every k there is.
"""

import os
import random
import resource
import signal
import sys
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ttt_config.errors import DataError
from ttt_data.store import TokenStore, TokenStoreWriter, verify_store

if TYPE_CHECKING:
    from _typeshed import FileDescriptorLike

LONG_DOCUMENT = 5_000


def documents(split: str, count: int) -> Iterator[list[int]]:
    dice = random.Random(split)
    for number in range(count):
        length = LONG_DOCUMENT if number == 10 else dice.randrange(70)
        yield [dice.randrange(300) for _ in range(length)]


def no_waiting(fd: "FileDescriptorLike") -> None:
    """Take the place of fsync: a kill leaves the system alive, and all that it was given."""


def write(folder: Path, count: int = 100, *, eos_id: int = 1, overwrite: bool = False) -> None:
    with TokenStoreWriter(
        folder,
        tokenizer_json="{}",
        vocab_size=300,
        eos_id=eos_id,
        shard_tokens=100,
        overwrite=overwrite,
    ) as writer:
        for split in ("train", "val"):
            done = writer.stored_documents(split)
            for ids in islice(documents(split, count), done, None):
                writer.add_document(split, ids, len(ids))


def write_unless_finished(folder: Path, **options: Any) -> None:
    try:
        write(folder, **options)
    except DataError as error:
        if "finished token store" not in str(error):
            raise


def limited(folder: Path, limit: int) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    try:
        write(folder)
    except DataError as error:
        sys.exit(str(error))


def start(function: Any, *arguments: Any, **options: Any) -> int:
    """Run a function in a child process and return its id."""
    pid = os.fork()
    if pid == 0:
        try:
            function(*arguments, **options)
        except BaseException as error:
            sys.stderr.write(f"{error!r}\n")
            os._exit(1)
        os._exit(0)
    return pid


def status_of(pid: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def killed_at_random(folder: Path, kills: int) -> None:
    dice = random.Random(0)
    longest_s = 0.1
    landed = rounds = 0
    while landed < kills:
        place = folder / str(rounds)
        pid = start(write_unless_finished, place)
        time.sleep(dice.uniform(0, longest_s))
        os.kill(pid, signal.SIGKILL)
        if status_of(pid) == -signal.SIGKILL:
            landed += 1
            longest_s *= 1.1
        else:  # it was done before
            rounds += 1
            longest_s /= 2
        check_whole_or_refused(place)
    write_unless_finished(folder / str(rounds))


def killed_everywhere(folder: Path, *, overwrite: bool) -> None:
    options: dict[str, Any] = {"count": 4, "overwrite": overwrite}
    for k in range(1, 1000):
        place = folder / str(k)
        if overwrite:
            write(place, 3, eos_id=2)
        pid = start(die_before_operation, k, place, **options)
        killed = status_of(pid) == -signal.SIGKILL
        check_whole_or_refused(place)
        if killed:
            write_unless_finished(place, **options)
        else:
            sys.stdout.write(f"{k - 1}\n")
            return
    sys.exit("the writer never came to an end")


def die_before_operation(number: int, folder: Path, **options: Any) -> None:
    seen = 0

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal seen
        changes = event in {"open", "os.rename", "os.remove", "os.mkdir", "os.truncate"}
        if changes and str(arguments[0]).startswith(str(folder)):
            seen += 1
            if seen == number:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(watch)
    write(folder, **options)


def check_whole_or_refused(folder: Path) -> None:
    try:
        TokenStore.open(folder)
    except DataError as error:
        if "is not a finished token store" not in str(error):
            raise
    else:
        problems = [
            problem for problem in verify_store(folder) if "not part of" not in str(problem)
        ]
        if problems:
            sys.exit(str(problems[0]))


if __name__ == "__main__":
    os.fsync = no_waiting
    mode, path, *rest = sys.argv[1:]
    if mode == "write":
        write(Path(path))
    elif mode == "limited":
        limited(Path(path), int(rest[0]))
    elif mode == "killed-at-random":
        killed_at_random(Path(path), int(rest[0]))
    elif mode == "killed-everywhere":
        killed_everywhere(Path(path), overwrite=rest == ["overwrite"])
