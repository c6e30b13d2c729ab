"""What the files of a run are called that its launcher writes."""

STDOUT_NAME = "stdout.log"
STDERR_NAME = "stderr.log"
