"""A place in the data that can be saved and found again."""

from collections.abc import Mapping
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from ttt_config.errors import DataError


class LoaderState(msgspec.Struct, frozen=True):
    """A place in the data, the same for every rank.

    Attributes:
        seed: of the order of the windows.
        epoch: complete passes over the windows (of every source, in a mixture) before this place.
        index: the next sample, counted from the start of the run over all epochs and ranks.
        fingerprint: of the tokens and of how samples are cut from them.
    """

    seed: int
    epoch: Annotated[int, Meta(ge=0)]
    index: Annotated[int, Meta(ge=0)]
    fingerprint: str

    def to_dict(self) -> dict[str, Any]:
        """Return the state as plain values, for JSON."""
        return msgspec.structs.asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "LoaderState":
        """Read what `to_dict` wrote.

        Raises:
            DataError: a field is missing, of the wrong type or negative.
        """
        try:
            return msgspec.convert(dict(values), cls)
        except msgspec.ValidationError as error:
            raise DataError(f"not a loader state: {error}") from error
