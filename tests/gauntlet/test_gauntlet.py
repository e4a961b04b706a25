"""The short list, in this process: every hand-written model and some of each library."""

from __future__ import annotations

import pytest

from tests.gauntlet.cases import Case
from tests.gauntlet.checks import examine
from tests.gauntlet.lists import GROUPS, every

SHORT = [case for case in every() if case.short]


@pytest.mark.parametrize("case", SHORT, ids=lambda case: case.name)
def test_every_law_holds(case: Case) -> None:
    row = examine(case, timed=False)
    assert row.ok, "\n".join(row.problems)
    assert row.mode


def test_the_lists_are_as_long_as_they_should_be() -> None:
    sizes = {group: sum(case.group == group for case in every()) for group in GROUPS}
    assert sizes["nasty"] >= 40
    assert sizes["transformers"] >= 25
    families = {case.family for case in every() if case.group == "timm"}
    assert len(families) >= 60
    import torchvision

    assert sizes["torchvision"] == len(torchvision.models.list_models())
