"""Which inner model each layer has, written as a short repeating pattern.

    pattern = part {"," part}          part = [count "*"] name          "4*linear,mlp"

A name stands for an inner model (`linear`, `mlp`, ...) and perhaps the kernel that computes it:
`fused-tile-multi-linear` is `linear` by the kernel `tile-multi`. The pattern repeats over the
layers; `str` gives the canonical, run-length coded spelling, which parses back to the same pattern.
"""

import difflib
from itertools import groupby
from typing import Literal, NamedTuple, get_args

from msgspec import Struct

from ttt_config.errors import InvalidValueError
from ttt_config.inner import KernelName

InnerKind = Literal["linear", "linear-adam", "mlp", "mlp2", "mlp3", "mlp4"]


class LayerSpec(NamedTuple):
    """One layer of a pattern; `kernel` None: the one of `InnerConfig`."""

    kind: InnerKind
    kernel: KernelName | None = None


_SPECS: dict[str, LayerSpec] = {
    **{kind: LayerSpec(kind) for kind in get_args(InnerKind)},
    "fused-naive-linear": LayerSpec("linear", "naive"),
    "fused-naive-multi-linear": LayerSpec("linear", "naive-multi"),
    "fused-tile-linear": LayerSpec("linear", "tile"),
    "fused-tile-multi-linear": LayerSpec("linear", "tile-multi"),
    "d2d-streaming-linear": LayerSpec("linear", "d2d-streaming"),
    "ptr-streaming-linear": LayerSpec("linear", "ptr-streaming"),
}
_NAMES = {spec: name for name, spec in _SPECS.items()}
_ALIASES = {
    "fused": "fused-naive-linear",
    "fused-linear": "fused-naive-linear",
    **{name.removesuffix("-linear"): name for name, spec in _SPECS.items() if spec.kernel},
}


class MixPattern(Struct, frozen=True):
    """A repeating pattern of layers; make one with `MixPattern.parse`.

    Attributes:
        runs: equal neighbours with their count, `((4, linear), (1, mlp))`.
    """

    runs: tuple[tuple[int, LayerSpec], ...]

    @classmethod
    def parse(cls, text: str) -> "MixPattern":
        """Read a pattern, in any case and with any spaces; empty parts are skipped.

        Raises:
            InvalidValueError: a multiplier is no count, a name is unknown, or no layer is left.
        """
        parts = [_parse_part(part.strip(), text) for part in text.split(",") if part.strip()]
        runs = tuple(
            (sum(count for count, _ in group), spec)
            for spec, group in groupby(
                (part for part in parts if part[0]), key=lambda part: part[1]
            )
        )
        if not runs:
            raise InvalidValueError(
                "empty mix pattern, write for example `linear` or `4*linear,mlp`"
            )
        return cls(runs)

    def layer(self, index: int) -> LayerSpec:
        """The layer at `index` (from 0) of a model of any depth."""
        index %= len(self)
        for count, spec in self.runs:
            if index < count:
                return spec
            index -= count
        raise IndexError(index)

    def __len__(self) -> int:
        return sum(count for count, _ in self.runs)

    def __str__(self) -> str:
        return ",".join(
            f"{count}*{_NAMES[spec]}" if count > 1 else _NAMES[spec] for count, spec in self.runs
        )


def canonical_mix(text: str) -> str:
    """The canonical spelling of a pattern; raises as `MixPattern.parse` does."""
    return str(MixPattern.parse(text))


def _parse_part(part: str, text: str) -> tuple[int, LayerSpec]:
    multiplier, star, name = part.rpartition("*")
    multiplier = multiplier.strip()
    if star and not (multiplier.isascii() and multiplier.isdecimal() and len(multiplier) < 10):
        raise InvalidValueError(
            f"invalid multiplier {multiplier!r} in {text!r}, write for example `4*mlp`"
        )
    name = name.strip().lower()
    spec = _SPECS.get(_ALIASES.get(name, name))
    if spec is None:
        near = difflib.get_close_matches(name, [*_SPECS, *_ALIASES], n=1)
        hint = f", did you mean `{near[0]}`?" if near else f", expected one of {', '.join(_SPECS)}"
        raise InvalidValueError(f"unknown layer type {name!r}{hint}")
    return int(multiplier) if star else 1, spec
