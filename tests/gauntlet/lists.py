"""All lists in one: what the command runs and what the short test picks from."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module

from tests.gauntlet.cases import Case

GROUPS = {
    "nasty": "tests.gauntlet.nasty",
    "transformers": "tests.gauntlet.transformers_list",
    "timm": "tests.gauntlet.timm_list",
    "torchvision": "tests.gauntlet.torchvision_list",
}


def cases(group: str) -> dict[str, Case]:
    """The cases of one group; its library is imported only now."""
    found: dict[str, Case] = import_module(GROUPS[group]).CASES
    return found


def every() -> Iterator[Case]:
    """Every case of every group."""
    for group in GROUPS:
        yield from cases(group).values()


def find(name: str) -> Case:
    """The case with this name."""
    return cases(name.partition("/")[0])[name]
