"""Text from anywhere: built-in corpora, files of several formats, standard input, the hub.

    source = open_source("books", on_bad="skip")
    for document in source.documents("train"):
        ...
    print(source.problems, source.fingerprint())

Documents are streamed: memory holds one document and one block of its file, whatever the size.
"""

from ttt_data.readers.document import SourceDocument, Split
from ttt_data.readers.options import Format, ReadOptions
from ttt_data.readers.problems import OnBad, Problem, Problems
from ttt_data.readers.provenance import FileRecord, Provenance
from ttt_data.readers.source import Source
from ttt_data.readers.spec import BUILTIN, open_source
from ttt_data.readers.splits import Fractions

__all__ = [
    "BUILTIN",
    "FileRecord",
    "Format",
    "Fractions",
    "OnBad",
    "Problem",
    "Problems",
    "Provenance",
    "ReadOptions",
    "Source",
    "SourceDocument",
    "Split",
    "open_source",
]
