"""What a picture says of a thing that is pointed at; ``paint.js`` says the same."""

from __future__ import annotations

from typing import Any

from resnet_viz.core import units
from resnet_viz.core.message import Message, join, say
from resnet_viz.reporting.drawing.kind_words import named
from resnet_viz.reporting.page.cost_wording import macs_text


def node_tip(node: dict[str, Any]) -> Message:
    """What is said of an op that is pointed at."""
    told = [node["id"], join(" → ", [node["label"], node.get("note") or node.get("shape", "")])]
    if "params" in node:
        told.append(_copies(say("{n} parameters", n=f"{node['params']:,}"), node))
    if "macs" in node:
        macs = macs_text(node["macs"], node.get("uncounted", 0))
        told.append(_copies(say("{n} MACs", n=macs), node))
    if "l2" in node:
        l2, rms = units.scientific(node["l2"]), units.scientific(node["rms"])
        told.append(say("‖∇‖₂ {l2} · rms {rms}", l2=l2, rms=rms))
    if "spread" in node:
        told.append(_copies(f"‖∇‖₂ {' … '.join(map(units.scientific, node['spread']))}", node))
    told += [node["told"]] if "told" in node else []
    return join("\n", told)


def group_tip(group: dict[str, Any]) -> Message:
    """What is said of a box."""
    head = f"{group['id']} ({group['type_name']})" if group["type_name"] else group["id"]
    costs = say(
        "{params} parameters · {macs} MACs",
        params=f"{group['params']:,}",
        macs=macs_text(group["macs"], group["uncounted"]),
    )
    told = [head, _copies(costs, group)]
    if "block" in group:
        told.append(_block(group["title_kind"], group["squeeze"]))
    told += [group["told"]] if "told" in group else []
    return join("\n", told)


def skip_tip(skip: dict[str, Any]) -> Message:
    """What is said of a skip's arc."""
    told = [say("{kind} skip", kind=named(skip["kind"])), f"{skip['fork']} → {skip['join']}"]
    if "shares" in skip:
        low, high = map(units.percent, skip["shares"])
        share = say(
            "{share} of the gradient at its fork on average, {low} … {high}",
            share=units.percent(skip["share"]), low=low, high=high,
        )  # fmt: skip
        told.append(_copies(share, skip))
    elif "share" in skip:
        told.append(say("{share} of the gradient at its fork", share=units.percent(skip["share"])))
    told += [skip["told"]] if "told" in skip else []
    return join("\n", told)


def block_tip(block: dict[str, Any]) -> Message:
    """What is said of a block that is drawn as a glyph."""
    return join("\n", [block["module"], _block(block["kind"], block["squeeze"])])


def _block(kind: str, squeeze: float) -> Message:
    return say("{kind} · squeeze {ratio}", kind=named(kind), ratio=f"{squeeze:.3g}")


def _copies(told: str, fact: dict[str, Any]) -> str:
    """The same of a drawn thing that stands for several."""
    times = fact.get("of") or fact.get("times")
    return say("{what} in {n} copies", what=told, n=f"{times:,}") if times else told
