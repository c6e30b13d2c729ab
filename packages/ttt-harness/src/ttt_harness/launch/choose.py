"""Which launcher a harness file asks for."""

from ttt_config import HarnessConfig
from ttt_harness.launch.launcher import Launcher


def open_launcher(settings: HarnessConfig) -> Launcher:
    """The launcher that `harness.launcher` names; its libraries are imported here, not before."""
    match settings.launcher:
        case "local":
            from ttt_harness.launch.local import LocalLauncher

            return LocalLauncher()
