"""Sources of text to a token store, on several cores, without holding more than a little of either.

    result = prepare([open_source("books")], "data/books", tokenizer="bpe-4096", workers=4)

The files are the same bytes for any number of workers. A preparation that was interrupted, in
whatever way, goes on after its finished shards when it is run again.
"""

from ttt_data.prepare.progress import Progress
from ttt_data.prepare.run import PrepareResult, SplitSummary, prepare

__all__ = ["PrepareResult", "Progress", "SplitSummary", "prepare"]
