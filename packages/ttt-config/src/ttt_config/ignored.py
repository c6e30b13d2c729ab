"""Keys of ttt-rs that mean nothing here: accepted, so that its scripts and files go on working."""

IGNORED = {
    "workers": "batches are read ahead by one thread, which is enough",
    "threads": "kernels choose their launch sizes themselves",
    "pretokenized": "text is tokenized when it is read, and what `ttt data prepare` wrote is not "
    "again",
}
"""Key of a run and why it is not needed; none of them changes what is computed."""
