"""One try at a run, from the order to what becomes of the run: what is written down when."""

import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from ttt_config import HarnessConfig
from ttt_harness import failure
from ttt_harness.launch.launcher import Ended, Order
from ttt_harness.launch.names import STDERR_NAME, STDOUT_NAME
from ttt_harness.model import Attempt, Cause, RunRecord, RunStatus
from ttt_harness.progress import Progress
from ttt_harness.scheduler import Start

_CONFIG_NAME = "planned.toml"


class Conclusion(NamedTuple):
    """What an attempt came to: the run after it, and the line of its history."""

    run: RunRecord
    attempt: Attempt


def decided(run: RunRecord, start: Start, now: float) -> RunRecord:
    """The run with an attempt that is about to begin."""
    out = Path(run.out)
    return run._replace(
        status="starting",
        reason="",
        attempt=run.attempt + 1,
        token=secrets.token_hex(16),
        handle="",
        device=start.device.name,
        reserved_bytes=start.reserved_bytes,
        log_start=_size(out / STDOUT_NAME),
        error_start=_size(out / STDERR_NAME),
        started=now,
        finished=None,
    )


def order(run: RunRecord, start: Start, trainer: Sequence[str], settings: HarnessConfig) -> Order:
    """The attempt as a command; writes the configuration it is to be given.

    `--resume auto` goes on from the newest whole checkpoint, and begins the run if there is none.
    """
    out = Path(run.out)
    config = out / _CONFIG_NAME
    unfinished = config.with_suffix(".tmp")
    unfinished.write_text(run.config)
    unfinished.replace(config)
    threads = settings.cpu_threads
    environment = {} if threads is None else {"OMP_NUM_THREADS": str(threads)}
    arguments = ("train", "--config", str(config), "--out", run.out, "--resume", "auto", "--json")
    return Order(
        name=run.name,
        token=run.token,
        command=(*trainer, *arguments),
        out=out,
        environment=environment | start.device.environment,
        device=start.device,
        memory_bytes=start.reserved_bytes,
    )


def conclude(
    run: RunRecord,
    ended: Ended,
    progress: Progress,
    settings: HarnessConfig,
    *,
    now: float,
    killed: Cause | None = None,
    asked: str | None = None,
    problem: str | None = None,
) -> Conclusion:
    """Say what becomes of a run whose attempt is over.

    Args:
        run: as it was while it ran.
        ended: that it did, and how.
        progress: the last it said of itself.
        settings: how often to try again, and when.
        now: seconds since the epoch.
        killed: why the watchdog killed it.
        asked: why it was asked to stop; `stopped` by request, for good, or else for now.
        problem: why it could not even be begun.
    """
    run = run._replace(
        handle="",
        reserved_bytes=0,
        finished=now,
        steps=progress.steps or run.steps,
        step=progress.step if progress.step is not None else run.step,
        saved=progress.saved if progress.saved is not None else run.saved,
    )
    if ended.code == 0 or progress.ended == "done":
        return _concluded(run, "completed", "completed", "", now)
    if asked is not None:
        status: RunStatus = "stopped" if asked == "stopped" else "pending"
        return _concluded(run._replace(reason=asked), status, "stopped", asked, now)
    if problem is not None:
        found = failure.Failure("crash", problem)
    elif killed is not None:
        found = failure.Failure(killed, f"killed by the watchdog; its last lines are in {run.out}")
    else:
        stderr = failure.read_end(Path(run.out) / STDERR_NAME, run.error_start)
        found = failure.explain(ended, stderr, progress)
    return _failed(run, found, settings, now)


def _failed(
    run: RunRecord, found: failure.Failure, settings: HarnessConfig, now: float
) -> Conclusion:
    run = run._replace(
        reason=f"{found.cause}: {_last_line(found.detail)}",
        memory_failures=run.memory_failures + (found.cause == "out of memory"),
    )
    fate = failure.verdict(found.cause, run.retries, settings.max_retries, settings.on_failure)
    if fate != "retry":
        return _concluded(run, fate, found.cause, found.detail, now)
    wait_s = failure.backoff_s(found.cause, run.retries, settings.retry_backoff_s)
    run = run._replace(retries=run.retries + 1, not_before=now + wait_s)
    return _concluded(run, "pending", found.cause, found.detail, now)


def _concluded(
    run: RunRecord, status: RunStatus, cause: str, detail: str, now: float
) -> Conclusion:
    attempt = Attempt(run.name, run.attempt, cause, detail, run.device, run.started or now, now)
    return Conclusion(run._replace(status=status), attempt)


def _last_line(text: str) -> str:
    return text.strip().splitlines()[-1] if text.strip() else ""


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
