"""Which launcher a harness file asks for."""

from ttt_config import HarnessConfig
from ttt_harness.launch.launcher import Launcher


def open_launcher(settings: HarnessConfig) -> Launcher:
    """The launcher that `harness.launcher` names; its libraries are imported here, not before.

    Raises:
        ConfigError: what it needs is not installed, or not there.
    """
    match settings.launcher:
        case "local":
            from ttt_harness.launch.local import LocalLauncher

            return LocalLauncher()
        case "slurm":
            from ttt_harness.launch.slurm import SlurmLauncher

            return SlurmLauncher(settings.slurm)
        case "ray":
            from ttt_harness.launch.ray_cluster import RayCluster
            from ttt_harness.launch.remote import RemoteLauncher

            return RemoteLauncher(RayCluster(settings.ray.address))
