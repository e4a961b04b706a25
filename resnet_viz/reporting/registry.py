"""Which renderer a suffix, a format name or ``pkg.mod:obj`` stands for.

Reports and the results of experiments have their own renderers under the same names:
a graph has no CSV, and no error curve can be written as DOT.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any, TypeAlias, cast

from resnet_viz.core.attribution import Attributions
from resnet_viz.core.display import Savable
from resnet_viz.core.errors import UserError, one_line
from resnet_viz.core.experiments.degradation import Degradation
from resnet_viz.core.experiments.depth import DepthStudy
from resnet_viz.core.experiments.identity import IdentityMapping
from resnet_viz.core.experiments.lesions import LesionStudy
from resnet_viz.core.history import History
from resnet_viz.core.report import RenderOptions, Report
from resnet_viz.reporting.checking import checked
from resnet_viz.reporting.language import ENGLISH, speaking
from resnet_viz.reporting.raised import in_sight
from resnet_viz.reporting.remarks import remark

RenderFunction: TypeAlias = Callable[[Any, RenderOptions], bytes]
"""Draws a ``Report``, or an experiment's result."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Renderer:
    """Turns a report or an experiment's result into the bytes of one format.

    Attributes:
        name: The format's short name, as ``--format`` takes it.
        suffixes: File suffixes it writes, with the dot, the usual one first.
        media_type: MIME type of the bytes.
        function: The function itself, or ``module:name``, loaded on first use.
        heeds: Fields of ``RenderOptions`` that change what it writes; ``None`` where that is
            not known.
    """

    name: str
    suffixes: tuple[str, ...]
    media_type: str
    function: RenderFunction | str
    heeds: frozenset[str] | None = None

    def __call__(self, value: Savable, options: RenderOptions | None = None) -> bytes:
        """The value in this format.

        Raises:
            UserError: If the function gives anything but bytes, or cannot draw this; for an
                option out of its range.
        """
        function = self.function
        if isinstance(function, str):
            module, _, name = function.partition(":")
            function = cast(RenderFunction, getattr(import_module(module), name))
        options = checked(options or RenderOptions())
        if isinstance(value, Report):
            options = in_sight(value, options)
        with speaking(_language(value, options)):
            data: Any = function(value, options)
        if not isinstance(data, bytes):
            raise UserError(
                f"renderer {self.name!r} gave {type(data).__name__}; it must return bytes "
                "(text.encode() makes bytes of text)"
            )
        return data


def _language(value: Savable, options: RenderOptions) -> str:
    """The language asked for; English, with a remark, of what nobody has translated yet."""
    if options.lang != ENGLISH.code and isinstance(value, _ENGLISH_ONLY):
        remark(f"lang={options.lang}: pages of {type(value).__name__} are written in English")
        return ENGLISH.code
    return options.lang


_ENGLISH_ONLY = (Degradation, DepthStudy, History, IdentityMapping, LesionStudy)

RENDERERS: dict[str, Renderer] = {}
"""Suffix -> who writes a report in it."""

EXPERIMENT_RENDERERS: dict[str, Renderer] = {}
"""Suffix -> who writes an experiment's result in it."""


def register(renderer: Renderer) -> Renderer:
    """The same renderer, now found under each of its suffixes."""
    for suffix in renderer.suffixes:
        RENDERERS[suffix] = renderer
    return renderer


_WORDS = frozenset({"title", "lang"})
_PICTURE = _WORDS | {"theme", "width", "transparent"}
_PAGE = _WORDS | {"theme"}
_SHEET = _PICTURE | {"focus"}
_FLOWCHART = _WORDS | {
    "theme", "collapse", "depth", "expand", "focus", "direction", "edge_shapes", "formulas"
}  # fmt: skip
_DIAGRAM = _FLOWCHART | _PICTURE | {"font_size", "color_by"}
_DPI = frozenset({"dpi"})
_NOTHING: frozenset[str] = frozenset()

for _name, _suffixes, _media_type, _function, _heeds in (
    ("html", (".html", ".htm"), "text/html", "page.to_html:render_html", _FLOWCHART | {"color_by"}),
    ("svg", (".svg",), "image/svg+xml", "formats.to_svg:render_svg", _DIAGRAM),
    ("png", (".png",), "image/png", "formats.to_png:render_png", _DIAGRAM | _DPI),
    ("dot", (".dot", ".gv"), "text/vnd.graphviz", "formats.to_dot:render_dot", _DIAGRAM | _DPI),
    (
        "mmd",
        (".mmd", ".mermaid"),
        "text/vnd.mermaid",
        "formats.to_mermaid:render_mermaid",
        _FLOWCHART,
    ),
    ("json", (".json",), "application/json", "formats.to_json:render_json", _NOTHING),
    (
        "graphml",
        (".graphml",),
        "application/graphml+xml",
        "formats.to_graphml:render_graphml",
        _NOTHING,
    ),
    ("txt", (".txt",), "text/plain", "text.to_text:render_text", frozenset({"title", "focus"})),
    ("pdf", (".pdf",), "application/pdf", "formats.to_dot:render_pdf", _DIAGRAM),
):
    register(
        Renderer(
            name=_name,
            suffixes=_suffixes,
            media_type=_media_type,
            function=f"resnet_viz.reporting.{_function}",
            heeds=_heeds,
        )
    )


for _name, _suffixes, _media_type, _function, _heeds in (
    ("html", (".html", ".htm"), "text/html", "experiments.to_html:render_html", _PAGE),
    ("svg", (".svg",), "image/svg+xml", "experiments.sheet:render_svg", _SHEET),
    ("png", (".png",), "image/png", "experiments.sheet:render_png", _SHEET | _DPI),
    ("csv", (".csv",), "text/csv", "experiments.to_csv:render_csv", frozenset({"focus"})),
    ("json", (".json",), "application/json", "formats.to_json:render_json", _NOTHING),
    ("txt", (".txt",), "text/plain", "experiments.to_text:render_text", frozenset({"title"})),
):
    for _suffix in _suffixes:
        EXPERIMENT_RENDERERS[_suffix] = Renderer(
            name=_name,
            suffixes=_suffixes,
            media_type=_media_type,
            function=f"resnet_viz.reporting.{_function}",
            heeds=_heeds,
        )


ATTRIBUTION_RENDERERS: dict[str, Renderer] = {}
"""Suffix -> who writes attributions in it."""

for _name, _suffixes, _media_type, _function, _heeds in (
    ("html", (".html", ".htm"), "text/html", "attributions.page:render_html", _PAGE),
    ("svg", (".svg",), "image/svg+xml", "attributions.sheet:render_svg", _PICTURE),
    ("png", (".png",), "image/png", "attributions.sheet:render_png", _PICTURE | _DPI),
    ("npz", (".npz",), "application/x-npz", "attributions.npz:render_npz", _NOTHING),
    ("json", (".json",), "application/json", "formats.to_json:render_json", _NOTHING),
    ("txt", (".txt",), "text/plain", "attributions.page:render_text", frozenset({"title"})),
):
    for _suffix in _suffixes:
        ATTRIBUTION_RENDERERS[_suffix] = Renderer(
            name=_name,
            suffixes=_suffixes,
            media_type=_media_type,
            function=f"resnet_viz.reporting.{_function}",
            heeds=_heeds,
        )


def attribute_renderers() -> dict[str, Renderer]:
    """Suffix -> who writes a report of attributions: their pictures in place of its diagram."""
    return RENDERERS | {s: ATTRIBUTION_RENDERERS[s] for s in (".svg", ".png", ".npz")}


def renderers_of(value: Savable) -> dict[str, Renderer]:
    """Suffix -> who writes a value of this kind in it."""
    if isinstance(value, Attributions):
        return ATTRIBUTION_RENDERERS
    return RENDERERS if isinstance(value, Report) else EXPERIMENT_RENDERERS


def known_formats(known: dict[str, Renderer] | None = None) -> tuple[str, ...]:
    """Names of all formats, in the order they were registered; of reports by default."""
    known = RENDERERS if known is None else known
    return tuple(dict.fromkeys(renderer.name for renderer in known.values()))


def renderer_for(path: str | Path, known: dict[str, Renderer] | None = None) -> Renderer:
    """The renderer for this file name's suffix.

    Args:
        path: File name.
        known: ``EXPERIMENT_RENDERERS`` for experiments; reports' where ``None``.

    Raises:
        UserError: If no renderer writes such files; lists the suffixes that are known.
    """
    known = RENDERERS if known is None else known
    suffix = Path(path).suffix.lower()
    if suffix in known:
        return known[suffix]
    given = f"unknown suffix {suffix!r}" if suffix else "no suffix"
    usual = [renderer.suffixes[0] for renderer in known.values()]
    raise UserError(f"{given} in {str(path)!r}; known: {' '.join(known)}{_near(suffix, usual)}")


def resolve_renderer(text: str, known: dict[str, Renderer] | None = None) -> Renderer:
    """The renderer that ``--format`` means.

    Args:
        text: A name (``svg``), a suffix (``.svg``), or a renderer of your own as
            ``pkg.mod:obj`` or ``path/to/file.py:obj``: a ``Renderer`` or a function
            ``(Report, RenderOptions) -> bytes``. The working directory is searched.
        known: ``EXPERIMENT_RENDERERS`` for experiments; reports' where ``None``.

    Raises:
        UserError: If nothing of that name is known or it cannot be imported.
    """
    if ":" in text:
        return _outsider(text)
    known = RENDERERS if known is None else known
    for renderer in known.values():
        if text.lower() in (renderer.name, *renderer.suffixes):
            return renderer
    raise UserError(
        f"unknown format {text!r}; known: {' '.join(known_formats(known))}"
        f"{_near(text, known_formats(known))}; a renderer of your own is named pkg.mod:obj"
    )


def _near(given: str, known: Sequence[str]) -> str:
    near = get_close_matches(given.lower(), known, n=1, cutoff=0.5)
    return f"; did you mean {near[0]}?" if near else ""


def _outsider(text: str) -> Renderer:
    place, _, name = text.rpartition(":")
    try:
        module = _load_file(Path(place)) if place.endswith(".py") else _load_module(place)
        found = getattr(module, name)
    except AttributeError as error:
        raise UserError(f"--format {text}: {place} has no {name!r}") from error
    except (Exception, SystemExit) as error:
        # Whatever an outsider's module raises is theirs to mend; the cause is chained.
        raise UserError(f"--format {text}: cannot import {place}: {one_line(error)}") from error
    if isinstance(found, Renderer):
        return found
    if not callable(found):
        raise UserError(
            f"--format {text}: {name} is a {type(found).__name__}; it must be a Renderer "
            "or a function (Report, RenderOptions) -> bytes"
        )
    return Renderer(
        name=text,
        suffixes=(),
        media_type="application/octet-stream",
        function=cast(RenderFunction, found),
    )


def _load_module(name: str) -> ModuleType:
    # A console script does not search the working directory as ``python -m`` does.
    here = str(Path.cwd())
    if here in sys.path or "" in sys.path:
        return import_module(name)
    sys.path.insert(0, here)
    try:
        return import_module(name)
    finally:
        sys.path.remove(here)


def _load_file(path: Path) -> ModuleType:
    spec = spec_from_file_location(f"resnet_viz_renderer_{path.stem}", path.resolve())
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is no Python file")
    module = module_from_spec(spec)
    # Dataclasses and pickle look their module up by name.
    sys.modules[spec.name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[spec.name]
        raise
    return module
