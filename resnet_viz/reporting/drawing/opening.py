"""Which boxes are open at first: what ``--depth`` and ``--expand`` ask for."""

from __future__ import annotations

from difflib import get_close_matches
from fnmatch import fnmatchcase

from resnet_viz.core.errors import UserError, listed
from resnet_viz.core.report import RenderOptions
from resnet_viz.reporting.folding.fold import Folded
from resnet_viz.reporting.layout.grouping import Group


def opened(
    groups: list[Group], by_mode: dict[str, list[int]], folded: Folded, options: RenderOptions
) -> dict[str, list[int]]:
    """``by_mode``, with the mode that ``options`` begin with as they ask for it.

    Args:
        groups: The boxes, each after the one around it.
        by_mode: Per collapse mode a 1 for each box that is open.
        folded: What is drawn; a module whose copy is drawn for it opens that copy.
        options: ``collapse``, ``depth`` and ``expand``.

    Raises:
        UserError: If a glob of ``expand`` meets no module that ran.
    """
    states = list(by_mode[options.collapse])
    if options.depth is not None:
        level = [0] * len(groups)
        for i, group in enumerate(groups):
            level[i] = 1 + (level[group.parent] if group.parent >= 0 else 0)
            # What raised is open in every mode.
            states[i] = int(level[i] <= options.depth or by_mode["all"][i])
    paths = {path for glob in options.expand for path in _drawn_as(glob, folded)}
    for i, group in enumerate(groups):
        if group.path and group.path in paths:
            around = i
            while around >= 0:
                states[around] = 1
                around = groups[around].parent
    return {**by_mode, options.collapse: states}


def _drawn_as(glob: str, folded: Folded) -> list[str]:
    """Paths of the modules it means, copies under the path of the one that is drawn."""
    ran = {""}
    for op in folded.whole.graph.ops:
        path = op.module
        while path not in ran:
            ran.add(path)
            path = path.rpartition(".")[0]
    known = dict.fromkeys(m.path for m in folded.whole.graph.modules if m.path)
    found = [path for path in known if fnmatchcase(path, glob)]
    if ran.isdisjoint(found):
        near = get_close_matches(glob.strip("*."), known, n=3, cutoff=0.4) or list(known)
        raise UserError(f"no module that ran is called {glob!r}; expand one of: {listed(near)}")
    first = {copy: repeat.modules[0] for repeat in folded.repeats for copy in repeat.modules[1:]}
    return [_first_copy(path, first) for path in found]


def _first_copy(path: str, first: dict[str, str]) -> str:
    for copy, home in first.items():
        if path == copy or path.startswith(f"{copy}."):
            return home + path[len(copy) :]
    return path
