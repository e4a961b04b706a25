"""Networks whose pictures are hard to lay out, as reports; none of them needs torch."""

from __future__ import annotations

import random
from collections.abc import Callable

from resnet_viz.core.graph import OpId
from resnet_viz.core.report import Report
from tests.reporting import synthetic
from tests.reporting.synthetic import Net


def inception(cells: int = 3) -> Report:
    """GoogLeNet-like: four branches of unequal length side by side."""
    net = Net("inception", (1, 16, 28, 28))
    x = net.x
    for i in range(cells):
        path = f"cell{i}"
        ends = [net.conv(f"{path}.branch1", x, 16, 1)]
        for name, kernels in (("branch2", (1, 3)), ("branch3", (1, 5, 5))):
            y = x
            for k, kernel in enumerate(kernels):
                y = net.relu(
                    f"{path}.{name}.{k}.relu", net.conv(f"{path}.{name}.{k}.conv", y, 8, kernel)
                )
            ends.append(y)
        y = net.op("max_pool2d", f"{path}.branch4", x)
        ends.append(net.conv(f"{path}.branch4.proj", y, 8, 1))
        n, _, h, w = net.shape(x)
        x = net.op("cat", path, *ends, shape=(n, sum(net.shape(e)[1] for e in ends), h, w))
    return net.report(x, measured=False)


def unet(levels: int = 4) -> Report:
    """Ronneberger et al. 2015: each level's output is concatenated far below."""
    net = Net("unet", (1, 8, 64, 64))
    x, kept = net.x, []
    for i in range(levels):
        x = net.relu(f"down{i}.relu", net.conv(f"down{i}.conv", x, 8 << i, 3))
        kept.append((x, len(net.ops)))
        n, c, h, w = net.shape(x)
        x = net.op("max_pool2d", f"pool{i}", x, shape=(n, c, h // 2, w // 2))
    x = net.relu("middle.relu", net.conv("middle.conv", x, 8 << levels, 3))
    for i in reversed(range(levels)):
        skip, start = kept.pop()
        n, c, h, w = net.shape(skip)
        x = net.op("interpolate", f"up{i}", x, shape=(n, net.shape(x)[1], h, w))
        branch = net.since(start)
        joined = net.op("cat", f"dec{i}", skip, x, shape=(n, c + net.shape(x)[1], h, w))
        net.close(skip, joined, "concat", branch)
        x = net.relu(f"dec{i}.relu", net.conv(f"dec{i}.conv", joined, c, 3))
    return net.report(net.conv("head", x, 2, 1), measured=False)


def llm(layers: int = 4, experts: int = 0, width: int = 64) -> Report:
    """A decoder whose mask and rotary tables feed every layer; with experts, a mixture."""
    net = Net("llm", (1, 8))
    x = net.op("embedding", "model.embed", net.x, shape=(1, 8, width), weights=[(100, width)])
    at = net.op("arange", "model.rotary", shape=(8,))
    tables = [net.op(kind, "model.rotary", at, shape=(8, 16)) for kind in ("cos", "sin")]
    mask = net.op("triu", "model.mask", net.op("ones", "model.mask", shape=(8, 8)), shape=(8, 8))
    for i in range(layers):
        path = f"model.layers.{i}"
        start, fork = len(net.ops), x
        y = net.norm(f"{path}.norm1", x)
        heads: list[OpId] = []
        for name in "qk":
            z = net.linear(f"{path}.attn.{name}", y, width)
            scaled = net.op("mul", f"{path}.attn", z, tables[0])
            turned = net.op("neg", f"{path}.attn", z)
            heads.append(
                net.op(
                    "add", f"{path}.attn", scaled, net.op("mul", f"{path}.attn", turned, tables[1])
                )
            )
        v = net.linear(f"{path}.attn.v", y, width)
        y = net.op("attention", f"{path}.attn", *heads, v, mask)
        y = net.linear(f"{path}.attn.out", y, width)
        branch = net.since(start)
        x = net.op("add", path, fork, y)
        net.block("attention", path, start, net.close(fork, x, "identity", branch))
        start, fork = len(net.ops), x
        y = net.norm(f"{path}.norm2", x)
        if experts:
            route = net.op("softmax", f"{path}.moe", net.linear(f"{path}.moe.router", y, experts))
            total = y
            for e in range(experts):
                z = net.op("index", f"{path}.moe", y, route, shape=(1, 2, width))
                z = net.op("silu", f"{path}.moe.{e}", net.linear(f"{path}.moe.{e}.up", z, width))
                z = net.linear(f"{path}.moe.{e}.down", z, width)
                total = net.op("index_add", f"{path}.moe", total, z, shape=(1, 8, width))
            y = total
        else:
            up = net.op("silu", f"{path}.mlp", net.linear(f"{path}.mlp.gate", y, width))
            y = net.op("mul", f"{path}.mlp", up, net.linear(f"{path}.mlp.up", y, width))
            y = net.linear(f"{path}.mlp.down", y, width)
        branch = net.since(start)
        x = net.op("add", path, fork, y)
        net.block("mlp", path, start, net.close(fork, x, "identity", branch))
    return net.report(net.linear("head", net.norm("model.norm", x), 100), measured=False)


def flat(ops: int, every: int = 0) -> Report:
    """A chain without any module; with a skip around each of ``every`` ops."""
    net = Net("flat", (1, 8, 4, 4))
    x, fork, start = net.x, net.x, 0
    for i in range(ops):
        if every and i % every == every - 1:
            branch = net.since(start)
            y = net.op("add", "", x, fork)
            net.close(fork, y, "identity", branch)
            x = fork = y
            start = len(net.ops)
        else:
            x = net.op("relu", "", x)
    return net.report(x, measured=False)


def two_inputs() -> Report:
    """A box with a main input and one from far above, and a constant used at its end."""
    net = Net("two", (1, 8, 4, 4))
    far = net.conv("far", net.x, 8, 1)
    x = net.conv("stem", net.x, 8, 3)
    for _ in range(3):
        x = net.relu("", net.conv("", x, 8, 3))
    for i in range(2):
        y = net.relu(f"box{i}.relu", net.conv(f"box{i}.conv", x, 8, 3))
        y = net.op("add", f"box{i}", y, net.conv(f"box{i}.side", far, 8, 1))
        x = net.op("mul", f"box{i}", y, net.op("ones", f"box{i}", shape=(1, 8, 4, 4)))
    return net.report(x, measured=False)


def at_random(seed: int, most: int = 40) -> Report:
    """Ops with random sources in modules that are entered and left at random."""
    chance = random.Random(seed)
    net = Net("random", (1, 8, 4, 4))
    ids, module = [net.x], ""
    paths = chance.choice(
        [
            ["", "a", "a.b", "a.c", "d", "d.e.f", "a.b.g"],
            ["a", "b", "c", "a.x.y.z", "b.x", "b.y"],
            ["", "m.0", "m.1", "m.2", "m.2.n.0", "m.2.n.1"],
        ]
    )
    for _ in range(chance.randint(1, most)):
        if chance.random() < 0.3:
            module = chance.choice(paths)
        near = [
            ids[-1 - min(len(ids) - 1, int(chance.expovariate(chance.choice([0.1, 0.5]))))]
            for _ in range(chance.choice([0, 1, 1, 1, 1, 2, 2, 3]))
        ]
        sources = list(dict.fromkeys(near))
        kind = chance.choice(["relu", "add", "cat", "max_pool2d"])
        start = len(net.ops)
        op = net.op(kind, module, *sources, shape=(1, 8, 4, 4))
        if len(sources) > 1 and kind in ("add", "cat"):
            ends = [ids.index(s) for s in sources]
            low, high = min(ends), max(ends)
            branch = [o.id for o in net.ops[low:high]]
            net.close(ids[low], op, "concat" if kind == "cat" else "identity", branch)
            if chance.random() < 0.3:
                net.block("basic", module, max(0, start - 3), net.skips[-1])
        ids.append(op)
    return net.report(ids[-1], *({chance.choice(ids)} - {ids[-1]}), measured=False)


CORPUS: dict[str, Callable[[], Report]] = synthetic.ALL | {
    "vit": lambda: synthetic.vit(4),
    "densenet": lambda: synthetic.densenet((3, 6, 4)),
    "inception": inception,
    "unet": unet,
    "llm": llm,
    "mixture": lambda: llm(2, experts=6),
    "flat": lambda: flat(40, every=5),
    "two inputs": two_inputs,
}
