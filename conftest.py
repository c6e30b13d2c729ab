"""For every test of the workspace."""

import signal


def pytest_configure() -> None:
    """Let Ctrl-C reach what tests start: a job in the background ignores it, and its children."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
