"""When a run that lives is given up: it says nothing, or it gets nowhere."""

from typing import NamedTuple

from ttt_config import HarnessConfig
from ttt_harness.model import Cause


class Activity(NamedTuple):
    """When a run last did something; seconds of one clock that never goes back."""

    began: float
    """This attempt, or the watch over it."""
    output: float
    """Its logs grew."""
    progress: float | None = None
    """It took a step, evaluated or saved; None if it did not yet."""


class Observed(NamedTuple):
    """What a look at a run found."""

    log_bytes: int
    """Of both logs."""
    mark: tuple[int | None, ...] | None
    """Differs when it got on; None before its first step."""


def update(activity: Activity, before: Observed, now: Observed, now_s: float) -> Activity:
    """Note what has changed between two looks."""
    if now.log_bytes != before.log_bytes:
        activity = activity._replace(output=now_s)
    if now.mark != before.mark:
        activity = activity._replace(progress=now_s)
    return activity


def judge(
    activity: Activity, settings: HarnessConfig, *, now_s: float, settled_s: float
) -> Cause | None:
    """Say why a run is to be killed; None if it is not.

    Args:
        activity: of the run.
        settings: how patient to be.
        now_s: by the clock of `activity`.
        settled_s: until then other runs are starting up, and slow ones are not judged.
    """
    if now_s < settled_s:
        return None

    def over(since_s: float, limit_s: float | None) -> bool:
        # Time in which nothing is judged does not count against a run.
        return limit_s is not None and now_s - max(since_s, settled_s) > limit_s

    if over(activity.output, settings.idle_timeout_s):
        return "silence"
    if activity.progress is None:
        return "slow start" if over(activity.began, settings.startup_grace_s) else None
    return "hang" if over(activity.progress, settings.hang_timeout_s) else None
