"""Rows of a module tree in which equal modules that follow each other share one row.

A row for n modules holds the numbers of all n, and so do the rows below it, so that
every column adds up as it does without folding; what one costs stands beside it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from resnet_viz.analysis.blocks import common_module
from resnet_viz.core.graph import ModelGraph
from resnet_viz.core.structure import Repeat
from resnet_viz.core.units import si
from resnet_viz.reporting.folding.fold import from_to

NOTE = (
    "A row marked × n stands for n equal modules. Its numbers, and those of the rows\n"
    "below it, are of all n, so that every column still adds up."
)


@dataclass(frozen=True, slots=True)
class _Run:
    """Modules that share the row of the first."""

    paths: tuple[str, ...]
    shared: bool


class FoldedRows:
    """Which rows of the tree are left out, and what the others stand for."""

    def __init__(
        self, graph: ModelGraph, repeats: tuple[Repeat, ...], params: Mapping[str, int]
    ) -> None:
        self._runs: dict[str, _Run] = {}
        self._again: dict[str, int] = {}
        self.hidden: set[str] = set()
        self._below: dict[str, list[str]] = {}
        for module in graph.modules if repeats else ():
            for path in above(module.path):
                self._below.setdefault(path, []).append(module.path[len(path) :])
        self._ops: dict[str, int] = {}
        for op in graph.ops if repeats else ():
            for path in above(op.module):
                self._ops[path] = self._ops.get(path, 0) + 1
        for repeat in repeats:
            self._add(graph, repeat, params)

    def _add(self, graph: ModelGraph, repeat: Repeat, params: Mapping[str, int]) -> None:
        home = common_module(repeat.modules)
        copies = [_children(graph, repeat, home, k) for k in range(repeat.count)]
        if len({*map(tuple, copies)}) == 1:
            # One module called again and again has one row as it is.
            if home and repeat.shared:
                self._again[home] = repeat.count
            return
        whole = all(
            "" not in children
            and sum(self._ops[path] for path in children) == len(repeat.copies[k])
            for k, children in enumerate(copies)
        )
        if not whole or len({len(children) for children in copies}) > 1:
            return
        runs = [_Run(paths, bool(repeat.shared)) for paths in zip(*copies, strict=True)]
        if all(self._alike(run, params) for run in runs):
            self._runs |= {run.paths[0]: run for run in runs}
            self.hidden.update(path for run in runs for path in run.paths[1:])

    def _alike(self, run: _Run, params: Mapping[str, int]) -> bool:
        """Whether the modules below have the same names and as many parameters."""
        first, *others = run.paths
        below = self._below[first]
        return all(
            self._below[path] == below
            and (run.shared or all(params[path + b] == params[first + b] for b in below))
            for path in others
        )

    def members(self, path: str) -> list[str]:
        """The modules whose numbers stand in this one's row, itself first."""
        found = [path]
        for head in above(path):
            if run := self._runs.get(head):
                found = [other + p[len(head) :] for other in run.paths for p in found]
        return found

    def name(self, path: str) -> str:
        """What to call the row below the module around it: ``1 … 5``."""
        run = self._runs.get(path)
        last = path.rpartition(".")[2]
        return from_to(last, run.paths[-1].rpartition(".")[2]) if run else last

    def times(self, path: str) -> str:
        """``× 5`` for a row of five modules, or of one that is called five times."""
        run, again = self._runs.get(path), self._again.get(path)
        count = len(run.paths) if run else again
        return f"× {count:,}" if count else ""

    def each(self, path: str, params: int, macs: int) -> str:
        """What one of the row's modules costs, of sums over all; empty where it is one."""
        run, again = self._runs.get(path), self._again.get(path)
        if run is None:
            return f"each time {si(macs // again)} MACs, the same weights" if again else ""
        count = len(self.members(path))
        if run.shared:
            return f"each {si(macs // count)} MACs, the same weights"
        return f"each {si(params // count)} params, {si(macs // count)} MACs"


def above(path: str) -> list[str]:
    """The path and those of the modules around it, the root last."""
    found = [path]
    while path:
        path = path.rpartition(".")[0]
        found.append(path)
    return found


def _children(graph: ModelGraph, repeat: Repeat, home: str, copy: int) -> list[str]:
    """The children of ``home`` in which a copy runs; an empty text for ``home`` itself."""
    skip = len(home) + 1 if home else 0
    names = dict.fromkeys(graph[op].module[skip:].partition(".")[0] for op in repeat.copies[copy])
    return [".".join(filter(None, (home, name))) if name else "" for name in names]
