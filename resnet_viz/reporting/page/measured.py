"""The parts of a report page that are figures and tables: chain, path lengths, propagation."""

from __future__ import annotations

from dataclasses import dataclass, replace

from resnet_viz.core.message import say
from resnet_viz.core.report import RenderOptions, Report
from resnet_viz.reporting.experiments.chain_figures import chain_figure, chain_table, chain_words
from resnet_viz.reporting.experiments.flow_tables import fact_tables, parameter_table
from resnet_viz.reporting.experiments.page import Section
from resnet_viz.reporting.experiments.path_view import CONTESTED, path_section
from resnet_viz.reporting.experiments.propagation_view import propagation_section
from resnet_viz.reporting.page.rollup import rollup_tables
from resnet_viz.reporting.page.tables import Facts


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What a report shows beside its diagram, its bars and its tables of costs.

    Attributes:
        flow: Goes with the bars of the gradient flow; ``None`` where none was measured.
        sections: Sections of their own, in reading order.
    """

    flow: Section | None = None
    sections: tuple[Section, ...] = ()


def measured_sections(report: Report, options: RenderOptions) -> Measured:
    """The measured parts; nothing for a page that is a diagram only."""
    if options.diagram_only:
        return Measured()
    sections = []
    if report.path_gradients is not None:
        paths = path_section(report.path_gradients)
        sections.append(replace(paths, said=(*paths.said, CONTESTED)))
    if report.signal_propagation is not None:
        sections.append(propagation_section(report.signal_propagation))
    return Measured(flow=flow_section(report), sections=tuple(sections))


def flow_section(report: Report) -> Section | None:
    """The chain and the tables of everything that was measured of the gradient."""
    flow = report.gradient_flow
    if flow is None:
        return None
    chain = chain_figure(flow.chain)
    tables = (
        *rollup_tables(Facts(report)),
        *([chain_table(flow.chain)] if flow.chain else []),
        parameter_table(flow),
        *fact_tables(flow),
    )
    return Section(
        key="chain",
        title=say("The chain"),
        said=chain_words(flow.chain),
        figures=(chain,) if chain is not None else (),
        tables=tables,
    )
