"""A pod rented at RunPod that stops itself when its work is done."""

import os
import shutil
import subprocess

from ttt_config import ConfigError, HarnessError

_LIMIT_S = 60.0


class Pod:
    """This pod.

    Raises:
        ConfigError: this is none, or `runpodctl` is missing; better known before the runs than
            after.
    """

    def __init__(self) -> None:
        self.id = os.environ.get("RUNPOD_POD_ID", "")
        if not self.id:
            raise ConfigError("harness.runpod.enabled: RUNPOD_POD_ID is not set; is this a pod?")
        control = shutil.which("runpodctl")
        if control is None:
            raise ConfigError("harness.runpod.enabled: no `runpodctl` on the PATH; install it")
        self._control = control

    def stop(self) -> None:
        """Stop the pod.

        Raises:
            HarnessError: it was refused; the pod goes on, and is paid for.
        """
        try:
            done = subprocess.run(  # noqa: S603  (a fixed command, no shell)
                [self._control, "stop", "pod", self.id],
                capture_output=True,
                text=True,
                check=False,
                timeout=_LIMIT_S,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise HarnessError(f"runpodctl could not stop the pod {self.id}: {error}") from error
        if done.returncode:
            raise HarnessError(f"runpodctl could not stop the pod {self.id}: {done.stderr.strip()}")
