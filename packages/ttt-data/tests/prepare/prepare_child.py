"""Prepares a store in processes that die, for test_prepare_crash.py and test_prepare_pool.py.

python prepare_child.py prepare SOURCE FOLDER WORKERS
python prepare_child.py limited SOURCE FOLDER BYTES     no file may grow larger
python prepare_child.py killed SOURCE FOLDER WORKERS KILLS
python prepare_child.py memory SOURCE FOLDER            print the memory it took, in bytes
python prepare_child.py wait SOURCE FOLDER              print the workers, then wait for the end
"""

import multiprocessing
import os
import random
import resource
import signal
import sys
import time
from pathlib import Path

from ttt_config.errors import DataError
from ttt_data import Tokenizer, batches
from ttt_data.prepare import Progress, prepare
from ttt_data.readers import open_source

SHARD_TOKENS = 20_000


def run(source: Path, folder: Path, workers: int = 1, *, shard_tokens: int = SHARD_TOKENS) -> None:
    prepare(
        [open_source(source, separator="\n#\n", test_fraction=0)],
        folder,
        tokenizer="bytes",
        workers=workers,
        shard_tokens=shard_tokens,
    )


def run_unless_finished(source: Path, folder: Path, workers: int) -> None:
    try:
        run(source, folder, workers)
    except DataError as error:
        if "finished token store" not in str(error):
            raise


def start(source: Path, folder: Path, workers: int) -> int:
    """Run it in a child process and return its id."""
    pid = os.fork()
    if pid == 0:
        try:
            run_unless_finished(source, folder, workers)
        except BaseException as error:
            sys.stderr.write(f"{error!r}\n")
            os._exit(1)
        os._exit(0)
    return pid


def status_of(pid: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def killed(source: Path, folder: Path, workers: int, kills: int) -> None:
    """Kill it at random moments of its course; print how many shards a kill found, -1 for all."""
    rehearsal = folder.with_name("rehearsal")
    began_s = time.perf_counter()
    if status_of(start(source, rehearsal, workers)):
        sys.exit("the rehearsal failed")
    duration_s = time.perf_counter() - began_s
    dice = random.Random(0)
    found = 0
    for _ in range(kills):
        pid = start(source, folder, workers)
        wait_for_shards(folder, max(0, found) + dice.randrange(8), 2 * duration_s)
        time.sleep(dice.uniform(0, 0.05) * duration_s)
        os.kill(pid, signal.SIGKILL)
        status_of(pid)
        found = len(list(folder.glob("*.idx")))
        if (folder / "manifest.json").exists():  # begin again, so that the other kills find work
            found = -1
            for path in folder.iterdir():
                path.unlink()
        sys.stdout.write(f"{found} ")
    if status_of(start(source, folder, workers)):
        sys.exit("the last run failed")


def wait_for_shards(folder: Path, count: int, at_most_s: float) -> None:
    end_s = time.perf_counter() + at_most_s
    while len(list(folder.glob("*.idx"))) < count and time.perf_counter() < end_s:
        time.sleep(0.001)


def limited(source: Path, folder: Path, limit: int) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    try:
        run(source, folder)
    except DataError as error:
        sys.exit(str(error))


def memory(source: Path, folder: Path) -> None:
    run(source, folder, shard_tokens=10**9)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    sys.stdout.write(f"{peak if sys.platform == 'darwin' else peak * 1024}\n")


def wait(source: Path, folder: Path) -> None:
    def stop_here(_: Progress) -> None:
        workers = [str(process.pid) for process in multiprocessing.active_children()]
        sys.stdout.write(" ".join(workers) + "\n")
        sys.stdout.flush()
        time.sleep(60)

    prepare([open_source(source)], folder, tokenizer="bytes", workers=2, progress=stop_here)


if __name__ == "__main__":
    mode, source_path, folder_path, *rest = sys.argv[1:]
    if mode != "memory":
        batches.BATCH_CHARACTERS = 20_000  # so that a small source makes many
    Tokenizer.load("bytes")  # imports what every child needs
    modes = {"prepare": run, "limited": limited, "killed": killed, "memory": memory, "wait": wait}
    modes[mode](Path(source_path), Path(folder_path), *map(int, rest))
