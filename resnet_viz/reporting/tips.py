"""What a static picture says of a thing that is pointed at; ``diagram.js`` says the same."""

from __future__ import annotations

from typing import Any

from resnet_viz.core import units
from resnet_viz.reporting.cost_wording import macs_text
from resnet_viz.reporting.folded_boxes import in_copies


def node_tip(node: dict[str, Any]) -> str:
    """What is said of an op that is pointed at."""
    told = [node["id"], f"{node['label']} → {node.get('note') or node.get('shape', '')}"]
    if "params" in node:
        told.append(f"{node['params']:,} parameters{in_copies(node)}")
    if "macs" in node:
        macs = macs_text(node["macs"], node.get("uncounted", 0))
        told.append(f"{macs} MACs{in_copies(node)}")
    if "l2" in node:
        l2, rms = units.scientific(node["l2"]), units.scientific(node["rms"])
        told.append(f"‖∇‖₂ {l2} · rms {rms}")
    if "spread" in node:
        low, high = map(units.scientific, node["spread"])
        told.append(f"‖∇‖₂ {low} … {high}{in_copies(node)}")
    told += [node["told"]] if "told" in node else []
    return "\n".join(told)


def group_tip(group: dict[str, Any]) -> str:
    """What is said of a box."""
    head = f"{group['id']} ({group['type_name']})" if group["type_name"] else group["id"]
    macs = macs_text(group["macs"], group["uncounted"])
    costs = f"{group['params']:,} parameters · {macs} MACs"
    lines = [head, costs + in_copies(group)]
    if "block" in group:
        lines.append(f"{group['title_kind']} · squeeze {group['squeeze']:.3g}")
    lines += [group["told"]] if "told" in group else []
    return "\n".join(lines)


def skip_tip(skip: dict[str, Any]) -> str:
    """What is said of a skip's arc."""
    text = f"{skip['kind']} skip\n{skip['fork']} → {skip['join']}"
    if "share" in skip:
        text += f"\n{units.percent(skip['share'])} of the fork's gradient"
    if "shares" in skip:
        low, high = map(units.percent, skip["shares"])
        text += f" on average, {low} … {high}{in_copies(skip)}"
    return f"{text}\n{skip['told']}" if "told" in skip else text


def block_tip(block: dict[str, Any]) -> str:
    """What is said of a block that is drawn as a glyph."""
    return f"{block['module']}\n{block['kind']} · squeeze {block['squeeze']:.3g}"
