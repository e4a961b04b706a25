"""``Report``: the value that leaves the last room but one, and how to show it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal, TypeAlias

from resnet_viz.core.attribution import Attributions
from resnet_viz.core.display import Savable
from resnet_viz.core.finding import Finding
from resnet_viz.core.gradient_flow import GradientFlow
from resnet_viz.core.graph import ModelGraph
from resnet_viz.core.op_times import OpTimes
from resnet_viz.core.paths import PathGradients
from resnet_viz.core.proof import Proof
from resnet_viz.core.propagation import SignalPropagation
from resnet_viz.core.structure import Structure

if TYPE_CHECKING:
    import networkx as nx

    from resnet_viz.core.records import ReportTable

Measurement: TypeAlias = GradientFlow | PathGradients | SignalPropagation | Attributions | OpTimes
ColorBy = Literal["kind", "params", "macs", "memory", "time", "gradient", "attribution"]
Collapse = Literal["blocks", "all", "none"]
Theme = Literal["auto", "light", "dark", "paper"]
Direction = Literal["TB", "LR"]
Section = Literal[
    "gradient flow", "path gradients", "signal propagation", "attributions", "op times"
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Provenance:
    """Where a report's facts come from. Passed in, so that goldens are stable.

    Attributes:
        tool: Name and version of this package.
        model: The model as the user named it.
        weights: Where the weights come from; ``random`` where nobody gave any.
        input: The input that was traced, in words.
        device: The device measurements ran on.
        seed: Seed of weights, inputs and labels.
        libraries: Name and version of what it ran on.
        command: The command line, where there was one.
        created: ISO date and time; empty where reproducible bytes are wanted.
    """

    tool: str = ""
    model: str = ""
    weights: str = "as given"
    input: str = ""
    device: str = ""
    seed: int | None = None
    libraries: tuple[str, ...] = ()
    command: str = ""
    created: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Missing:
    """A section that does not apply, and why, in one line."""

    section: Section
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Report(Savable):
    """Structure and measurements of one model.

    Attributes:
        graph: What ran.
        structure: What was found in it.
        measurements: What was measured, at most one value of each type.
        missing: Sections that do not apply.
        findings: Everything worth saying, worst first.
        provenance: Where it all comes from.
        proof: Whether the graph was verified; ``None`` where nobody asked.
    """

    graph: ModelGraph
    structure: Structure
    measurements: tuple[Measurement, ...] = ()
    missing: tuple[Missing, ...] = ()
    findings: tuple[Finding, ...] = ()
    provenance: Provenance = field(default_factory=Provenance)
    proof: Proof | None = None

    @property
    def gradient_flow(self) -> GradientFlow | None:
        """The gradient flow, where it was measured."""
        return next((m for m in self.measurements if isinstance(m, GradientFlow)), None)

    @property
    def path_gradients(self) -> PathGradients | None:
        """The gradient by path length, where it was measured."""
        return next((m for m in self.measurements if isinstance(m, PathGradients)), None)

    @property
    def signal_propagation(self) -> SignalPropagation | None:
        """Signal propagation, where it was measured."""
        return next((m for m in self.measurements if isinstance(m, SignalPropagation)), None)

    @property
    def attributions(self) -> Attributions | None:
        """The attributions, where there are any."""
        return next((m for m in self.measurements if isinstance(m, Attributions)), None)

    @property
    def op_times(self) -> OpTimes | None:
        """How long each call takes, where it was measured."""
        return next((m for m in self.measurements if isinstance(m, OpTimes)), None)

    def with_findings(self, findings: Sequence[Finding]) -> Report:
        """The same report with these findings."""
        return replace(self, findings=tuple(findings))

    def to_records(self, table: ReportTable = "ops") -> list[dict[str, object]]:
        """Flat dicts for ``pandas.DataFrame``; a table that was not measured is empty.

        Args:
            table: ``ops`` (everything known of each), ``blocks``, ``skips``, ``stages``,
                ``costs``, ``repeats``, ``gradient_groups`` (the gradient by block, stage
                and network), ``findings``, ``paths``, ``propagation``, or a table of
                ``GradientFlow.to_records``; see ``core.records``.
        """
        from resnet_viz.core.records import report_records

        return report_records(self, table)

    def to_networkx(self) -> nx.MultiDiGraph:
        """The graph with skips, bottlenecks, costs and gradients on it."""
        from resnet_viz.core.exchange import to_networkx

        return to_networkx(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class RenderOptions:
    """How to draw a report.

    Attributes:
        theme: ``auto`` follows the reader's system (HTML only; else light); ``paper`` is for
            print: white ground, dark lines, colours that stay apart in grey.
        collapse: ``blocks`` opens stages and closes blocks, ``all`` closes
            everything that can be closed, ``none`` draws every op.
        depth: Open boxes down to this depth of nesting in the drawing, 0 for none, in place
            of what ``collapse`` opens; ``None`` leaves it to ``collapse``.
        expand: Globs of module paths (``layer4.*``) that are open too, and what is around them.
        focus: Draw only the module at this path; empty for the whole model.
        title: Title of the page or drawing; the model's name where empty.
        scale: Pixels per unit of a PNG.
        diagram_only: HTML: leave out everything but the diagram and its table.
        engine: Who draws SVG and PNG: ``own``, or ``dot`` where Graphviz is installed.
        fold_repeats: Draw equal parts that follow each other once, marked ``× n``;
            ``None`` does so for large graphs (more than 2,000 ops) only.
        color_by: What the diagram's nodes are coloured by: the ``kind`` of op, its ``params``,
            ``macs``, ``memory`` (bytes of its outputs), ``time``, ``gradient`` or relevance
            (``attribution``); the last three must have been measured.
        lang: Language of a report's words, a key of ``reporting.language.LANGUAGES``.
        direction: Which way the data run: ``TB`` downwards, ``LR`` to the right.
        width: Width in pixels that a still drawing is laid out for and scaled to; 0 for its
            natural size.
        font_size: Of an op's label, in pixels; everything else grows with it.
        dpi: Of a PNG, in place of ``scale``: 96 is one pixel per unit; 0 for ``scale``.
        transparent: Leave the ground of a still drawing out.
        edge_shapes: Write on each edge the shape that it carries.
        formulas: Write x, F(x) and H(x) = F(x) + x on the ways of each residual block.
    """

    theme: Theme = "auto"
    collapse: Collapse = "blocks"
    depth: int | None = None
    expand: tuple[str, ...] = ()
    focus: str = ""
    title: str = ""
    scale: float = 2.0
    diagram_only: bool = False
    engine: Literal["own", "dot"] = "own"
    fold_repeats: bool | None = None
    color_by: ColorBy = "kind"
    lang: str = "en"
    direction: Direction = "TB"
    width: float = 0.0
    font_size: float = 12.0
    dpi: float = 0.0
    transparent: bool = False
    edge_shapes: bool = False
    formulas: bool = False
