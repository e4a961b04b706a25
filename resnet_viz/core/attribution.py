"""What an attribution method says of an input: maps, bars, and how far to trust them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """An encoded image (``data`` is the file's bytes)."""

    name: str
    width: int
    height: int
    media_type: str
    data: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Heatmap:
    """A map of numbers, quantised to bytes so that it compares and travels.

    ``value = low + byte / 255 * (high - low)``, row by row from the top left.
    """

    width: int
    height: int
    low: float
    high: float
    data: bytes

    def __post_init__(self) -> None:
        if len(self.data) != self.width * self.height:
            raise ValueError(f"{len(self.data)} bytes for {self.width}×{self.height}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """One labelled number."""

    label: str
    value: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Attribution:
    """What one method says of one input.

    Attributes:
        method: Plain name of the method (``integrated gradients``).
        input: Index of the input sample it explains.
        target: What was explained, in words (``class 281``).
        layer: The layer it was taken at; empty for the input.
        heatmap: For images.
        bars: For everything else: one per feature, token or channel.
        signed: Whether negative values mean evidence against the target.
        delta: Completeness delta, F(x) − F(x′) − Σ attribution; ``None`` where
            the method claims no completeness.
        relative_delta: ``|delta| / |F(x) − F(x′)|``.
        verdict: How far to trust it, in one sentence.
    """

    method: str
    input: int
    target: str
    layer: str = ""
    heatmap: Heatmap | None = None
    bars: tuple[Bar, ...] = ()
    signed: bool = False
    delta: float | None = None
    relative_delta: float | None = None
    verdict: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attributions:
    """All attributions of one run.

    Attributes:
        pictures: The inputs as pictures, by input index; empty without images.
        maps: One per (input, method).
        note: What the reader must know first (random weights, no image input).
        device: The device it ran on, as text.
    """

    pictures: tuple[Picture, ...]
    maps: tuple[Attribution, ...]
    note: str = ""
    device: str = "cpu"

    def __getitem__(self, method: str) -> tuple[Attribution, ...]:
        """All maps of a method, by input. Raises ``KeyError``."""
        found = tuple(m for m in self.maps if m.method == method)
        if not found:
            raise KeyError(f"no attribution by {method!r}")
        return found

    def to_records(self) -> list[dict[str, object]]:
        """One flat dict per map, for ``pandas.DataFrame``; see ``core.records``."""
        from resnet_viz.core.records import attribution_records

        return attribution_records(self)

    def to_json(self) -> str:
        """Versioned JSON text."""
        from resnet_viz.core.schema import to_json

        return to_json(self)
