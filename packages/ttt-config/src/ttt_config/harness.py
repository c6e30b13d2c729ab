"""What `ttt-harness` reads besides the fields of a run: how runs are packed and supervised."""

from typing import Annotated, Literal

from msgspec import Meta, Struct

from ttt_config.option import Count, Natural, NonNegative, Positive, option


class RunpodConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A machine rented at RunPod (table `harness.runpod`)."""

    enabled: Annotated[bool, option("stop this pod by runpodctl when every run has completed")] = (
        False
    )


class RayConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A Ray cluster (table `harness.ray`)."""

    address: Annotated[
        str, option("host:port of its head; auto: RAY_ADDRESS, or the one on this machine")
    ] = "auto"


class SlurmConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A Slurm cluster (table `harness.slurm`)."""

    gpu: Annotated[bool, option("each job asks for a GPU")] = True
    minutes: Annotated[
        Count, option("longest a job may take; the run saves 90 s before and goes on in a new job")
    ] = 1440
    options: Annotated[
        tuple[str, ...], option('more for sbatch, as in "partition=long" or "exclusive"')
    ] = ()


class HarnessConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the runs of a file are packed and supervised (table `harness`)."""

    state_file: Annotated[
        str, option("the harness's memory, PATH.db, and a copy of it as JSON, PATH.json")
    ] = "harness_state.json"
    launcher: Annotated[Literal["local", "ray", "slurm"], option("what starts the runs")] = "local"
    total_vram_gb: Annotated[
        Positive | None,
        option(
            "GiB of each GPU, or of RAM without one; none: what is found and is free",
            keys=("total_memory_gb", "total_ram_gb"),
        ),
    ] = None
    vram_margin: Annotated[
        float, Meta(ge=0, lt=1), option("share of it that stays free", keys=("memory_margin",))
    ] = 0.10
    max_parallel: Annotated[Count | None, option("runs at once; none: as fit")] = None
    cpu_threads: Annotated[
        Count | None, option("threads of each run on the CPU; none: all cores for each")
    ] = None
    on_failure: Annotated[
        Literal["retry", "skip", "abort"],
        option(
            "when a run fails: retry; retry, then go on as if it had not been asked for; stop all"
        ),
    ] = "retry"
    max_retries: Annotated[Natural, option("attempts of a run after its first")] = 2
    retry_backoff_s: Annotated[
        NonNegative,
        option("seconds before the first retry after a crash; doubles with each, up to an hour"),
    ] = 10.0
    startup_grace_s: Annotated[
        Positive | None,
        option(
            "seconds in which a run must take its first step; none: as long as it needs",
            keys=("startup_grace_secs",),
        ),
    ] = None
    hang_timeout_s: Annotated[
        Positive | None,
        option(
            "seconds without progress after the first step before a run is killed; none: never",
            keys=("hang_timeout_secs",),
        ),
    ] = None
    idle_timeout_s: Annotated[
        Positive | None,
        option(
            "seconds without output of any kind before a run is killed; none: never",
            keys=("idle_timeout_secs",),
        ),
    ] = None
    settle_grace_s: Annotated[
        NonNegative,
        option(
            "seconds after any start in which slow runs are not judged",
            keys=("settle_grace_secs",),
        ),
    ] = 30.0
    stop_grace_s: Annotated[
        NonNegative,
        option("seconds a run has to save and end when it is stopped, then it is killed"),
    ] = 120.0
    ray: RayConfig = RayConfig()
    slurm: SlurmConfig = SlurmConfig()
    runpod: RunpodConfig = RunpodConfig()


class EntryConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The keys of a `[[runs]]` table that are not fields of the run itself."""

    name: Annotated[str, option("what the run is called; its directory, too")]
    priority: Annotated[
        int, option("the higher start first; equal ones in the order of the file")
    ] = 0
    after: Annotated[tuple[str, ...], option("runs that must have completed before")] = ()
    memory_gb: Annotated[
        Positive | None, option("GiB it takes, if the estimate is to be overruled")
    ] = None
    out_prefix: Annotated[str, option("directory of the run's directory, without `out`")] = "runs"


class SweepConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The keys of a `[[sweep]]` table that are neither a run's nor an entry's."""

    mode: Annotated[
        Literal["grid", "list"],
        option("every combination of the lists, or their first values, their second ones, ..."),
    ] = "grid"
