"""Bringing runs back that ended otherwise than by completing."""

from collections.abc import Iterable, Mapping

from ttt_harness.model import RunRecord


def renewed(runs: Mapping[str, RunRecord], names: Iterable[str]) -> list[RunRecord]:
    """The named runs as if never tried, and with them those skipped for their sake.

    What they have reached stays in their directories: they go on from their newest checkpoint.
    """
    wanted = set(names)
    while True:
        behind = {
            run.name
            for run in runs.values()
            if run.status == "skipped" and run.name not in wanted and wanted & set(run.after)
        }
        if not behind:
            break
        wanted |= behind
    return [
        run._replace(
            status="pending",
            retries=0,
            memory_failures=0,
            not_before=0.0,
            reason="",
            step=None,
            saved=None,
        )
        for run in runs.values()
        if run.name in wanted
    ]
