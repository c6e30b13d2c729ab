"""What a store remembers of its sources."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePath

from ttt_data.readers import Provenance as SourceProvenance
from ttt_data.readers import Source
from ttt_data.store import Provenance
from ttt_data.store.manifest import Plain


def store_provenance(sources: Sequence[Source]) -> Provenance:
    """Return the record of these sources that goes into a manifest.

    It holds the fingerprint of each, so a preparation can only go on with the same text read in the
    same way. Folders the files are in are left out: data may be moved.
    """
    return Provenance(sources=[_record(source.provenance) for source in sources])


def _record(origin: SourceProvenance) -> dict[str, Plain]:
    is_path = origin.kind == "files" and "://" not in origin.spec
    return {
        "kind": origin.kind,
        "name": PurePath(origin.spec).name if is_path else origin.spec,
        "fingerprint": origin.fingerprint(),
        "files": len(origin.files),
        "bytes": sum(file.bytes for file in origin.files),
        **dict(_plain(origin.facts)),
    }


def _plain(facts: Mapping[str, object], prefix: str = "") -> Iterator[tuple[str, Plain]]:
    """The single values among nested facts, under dotted names; lists are in the fingerprint."""
    for name, value in facts.items():
        if isinstance(value, Mapping):
            yield from _plain({str(key): inner for key, inner in value.items()}, f"{prefix}{name}.")
        elif value is None or isinstance(value, str | int | float | bool):
            yield prefix + name, value
