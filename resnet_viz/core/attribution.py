"""What an attribution method says of an input: maps, bars, and how far to trust them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from resnet_viz.core.depth_views import DepthView, Kernels
from resnet_viz.core.display import Savable, Shown
from resnet_viz.core.pictures import Heatmap, Picture
from resnet_viz.core.relevance import Relevance
from resnet_viz.core.trust import Agreement, Trust
from resnet_viz.core.values import Values

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """One labelled number."""

    label: str
    value: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Attribution(Shown):
    """What one method says of one input.

    Attributes:
        method: Plain name of the method (``integrated gradients``).
        name: What a user types for it (``integrated_gradients``).
        input: Index of the input sample it explains.
        source: Name of the argument of ``forward`` it is about; empty at a layer.
        target: What was explained, in words (``class 281 (tabby)``).
        rank: 0 for the first of several targets of one input, 1 for the second.
        score: F(x), what was explained.
        probability: Softmax of it, where it is one class of scores (N, C).
        layer: The layer it was taken at; empty for the input.
        heatmap: For images.
        bars: For everything else: one per feature, token or channel.
        values: As captum gave them, of this sample, at the layer's own resolution.
        signed: Whether negative values mean evidence against the target.
        delta: Completeness delta, F(x) − F(x′) − Σ attribution; ``None`` where
            the method claims no completeness.
        relative_delta: ``|delta| / |F(x) − F(x′)|``.
        trust: What else was tested of it; ``None`` where nobody asked.
        forced: Why it should not be believed, where it was forced; else empty.
        says: What the method's values mean and what they do not claim; the same of all
            its maps.
        verdict: How far to trust it, in a sentence or two.
    """

    method: str
    name: str = ""
    input: int
    source: str = ""
    target: str
    rank: int = 0
    score: float | None = None
    probability: float | None = None
    layer: str = ""
    heatmap: Heatmap | None = None
    bars: tuple[Bar, ...] = ()
    values: Values | None = field(
        default=None, compare=False, repr=False, metadata={"travels": False}
    )
    signed: bool = False
    delta: float | None = None
    relative_delta: float | None = None
    trust: Trust | None = None
    forced: str = ""
    says: str = ""
    verdict: str = ""


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Attributions(Savable):
    """All attributions of one run.

    Attributes:
        pictures: The inputs as pictures, by input index; empty without images.
        maps: One per (input, target, method, layer).
        agreements: Of every two methods, per input and target.
        relevance: Per op and branch; ``None`` where not measured.
        depths: What each stage sees, per input; empty where not looked at.
        kernels: The first layer's filters, where the input is an image.
        note: What the reader must know first (random weights, no image input).
        device: The device it ran on, as text.
        rows: Rows of the batch per forward.
        peak_bytes: Peak memory of the run beside the model: on an accelerator what its
            allocator held; on a CPU what the largest backward kept, or where that was not
            measured what the graph allocates for the samples; ``None`` where not known.
        settings: How it ran, where not in float32 and the default layout.
    """

    pictures: tuple[Picture, ...]
    maps: tuple[Attribution, ...]
    agreements: tuple[Agreement, ...] = ()
    relevance: Relevance | None = None
    depths: tuple[DepthView, ...] = ()
    kernels: Kernels | None = None
    note: str = ""
    device: str = "cpu"
    rows: int | None = None
    peak_bytes: int | None = None
    settings: str = ""

    def __repr__(self) -> str:
        # Not the fields: a few pictures alone would fill a terminal with their bytes.
        methods = ", ".join(dict.fromkeys(m.name or m.method for m in self.maps))
        return f"<Attributions: {len(self.maps)} maps{methods and f' by {methods}'}>"

    def __getitem__(self, method: str) -> tuple[Attribution, ...]:
        """All maps of a method, by its name or title, by input. Raises ``KeyError``."""
        found = tuple(m for m in self.maps if method in (m.method, m.name))
        if not found:
            known = ", ".join(dict.fromkeys(m.name or m.method for m in self.maps))
            raise KeyError(f"no attribution by {method!r}; there are: {known or 'none'}")
        return found

    def arrays(self, method: str, *, rank: int = 0) -> dict[str, np.ndarray]:
        """What captum gave, by input and layer, samples first.

        Args:
            method: Its name or title.
            rank: Which of several targets.

        Returns:
            An array ``(samples, …)`` per name of an input, or per path of a layer.

        Raises:
            KeyError: If there is no such map, or it came from JSON, which has no values.
        """
        import numpy as np

        found: dict[str, list[np.ndarray]] = {}
        for item in self[method]:
            if item.rank == rank and item.values is not None:
                found.setdefault(item.layer or item.source, []).append(item.values.numpy())
        if not found:
            raise KeyError(f"no values of {method!r} for the target of rank {rank}")
        return {key: np.stack(rows) for key, rows in found.items()}

    def to_records(self) -> list[dict[str, object]]:
        """One flat dict per map, for ``pandas.DataFrame``; see ``core.record_columns``."""
        from resnet_viz.core.attribution_records import attribution_records

        return attribution_records(self)
