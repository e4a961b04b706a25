"""Realistic reports without torch: what the reporting tests draw.

``Net`` runs a pretended forward: each method adds one op, in order, and returns
its id. Shapes, parameters and MACs are those of the real networks; gradients,
shares and heatmaps are smooth made-up numbers that depend only on the op's place.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

from resnet_viz.core.attribution import Attribution, Attributions
from resnet_viz.core.finding import Finding
from resnet_viz.core.gradient_flow import (
    CallGradient,
    EdgeShare,
    GradientFlow,
    GradientStats,
    Loss,
    ParameterGradient,
)
from resnet_viz.core.graph import (
    Edge,
    GraphOutput,
    How,
    ModelGraph,
    ModuleNode,
    Op,
    OpId,
    ParameterSpec,
    Ref,
    TensorSpec,
    make_op_id,
)
from resnet_viz.core.pictures import Heatmap, Picture
from resnet_viz.core.report import Provenance, Report
from resnet_viz.core.structure import (
    Block,
    BlockKind,
    Cost,
    Costs,
    Skip,
    SkipKind,
    Stage,
    Structure,
)

_LEAVES = {
    "conv2d": "Conv2d",
    "batch_norm": "BatchNorm2d",
    "layer_norm": "LayerNorm",
    "relu": "ReLU",
    "gelu": "GELU",
    "linear": "Linear",
    "max_pool2d": "MaxPool2d",
    "avg_pool2d": "AvgPool2d",
    "adaptive_avg_pool2d": "AdaptiveAvgPool2d",
}


class Net:
    """A network under construction."""

    def __init__(self, name: str, shape: tuple[int, ...] = (1, 3, 224, 224)) -> None:
        self.name = name
        spec = TensorSpec(shape=shape, dtype="float32")
        self.x = OpId("input#0")
        self.inputs = [
            Op(id=self.x, kind="input", target="input", module="", outputs=(spec,), label="x")
        ]
        self.ops: list[Op] = []
        self.edges: list[Edge] = []
        self.types: dict[str, str] = {"": name.split("-")[0]}
        self.weights: dict[str, list[ParameterSpec]] = {}
        self.skips: list[Skip] = []
        self.blocks: list[Block] = []
        self.stages: list[Stage] = []
        self._shape: dict[OpId, tuple[int, ...]] = {self.x: shape}
        self._count: dict[tuple[str, str], int] = {}

    def op(
        self,
        kind: str,
        module: str,
        *sources: OpId,
        shape: tuple[int, ...] | None = None,
        weights: Sequence[tuple[int, ...]] = (),
        macs: int = 0,
        args: tuple[int | tuple[int, ...], ...] = (),
        inplace: bool = False,
    ) -> OpId:
        """Adds one call and returns its id."""
        ordinal = self._count.get((module, kind), 0)
        self._count[module, kind] = ordinal + 1
        key = make_op_id(module, kind, ordinal)
        out = shape if shape is not None else self._shape[sources[0]]
        fresh = module not in self.weights
        names = [f"{module}.{n}" for n in ("weight", "bias")][: len(weights)]
        if weights and fresh:
            self.weights[module] = [
                ParameterSpec(name=n, spec=TensorSpec(shape=w, dtype="float32"))
                for n, w in zip(names, weights, strict=True)
            ]
        refs = tuple(Ref(kind="in", key=i) for i in range(len(sources)))
        self.ops.append(
            Op(
                id=key,
                kind=kind,
                target=f"torch.{kind}",
                module=module,
                args=(*refs, *(Ref(kind="param", key=n) for n in names), *args),
                outputs=(TensorSpec(shape=out, dtype="float32"),),
                inplace=inplace,
                parameters=tuple(names),
                params=sum(math.prod(w) for w in weights) if fresh else 0,
                macs=macs,
                source_line="net.py:1",
            )
        )
        self.edges += [Edge(src=s, out_slot=0, dst=key, in_slot=i) for i, s in enumerate(sources)]
        self._shape[key] = out
        if module and kind in _LEAVES:
            self.types.setdefault(module, _LEAVES[kind])
        return key

    def shape(self, op: OpId) -> tuple[int, ...]:
        """Shape of an op's output."""
        return self._shape[op]

    def conv(
        self, module: str, x: OpId, out: int, k: int, stride: int = 1, groups: int = 1
    ) -> OpId:
        """A convolution without bias that keeps the size but for its stride."""
        n, c, h, w = self._shape[x]
        shape = (n, out, -(-h // stride), -(-w // stride))
        weight = (out, c // groups, k, k)
        macs = math.prod(weight) * shape[2] * shape[3] * n
        args = ((stride, stride), (k // 2, k // 2), (1, 1), groups)
        return self.op("conv2d", module, x, shape=shape, weights=[weight], macs=macs, args=args)

    def bn(self, module: str, x: OpId) -> OpId:
        """A batch norm."""
        c = self._shape[x][1]
        return self.op("batch_norm", module, x, weights=[(c,), (c,)])

    def relu(self, module: str, x: OpId) -> OpId:
        """A ReLU that writes into its argument."""
        return self.op("relu", module, x, inplace=True)

    def norm(self, module: str, x: OpId) -> OpId:
        """A layer norm."""
        c = self._shape[x][-1]
        return self.op("layer_norm", module, x, weights=[(c,), (c,)])

    def linear(self, module: str, x: OpId, out: int) -> OpId:
        """A linear layer with bias."""
        *lead, c = self._shape[x]
        macs = math.prod(lead) * c * out
        weights = [(out, c), (out,)]
        return self.op("linear", module, x, shape=(*lead, out), weights=weights, macs=macs)

    def close(
        self,
        fork: OpId,
        join: OpId,
        kind: SkipKind,
        branch: Sequence[OpId],
        shortcut: Sequence[OpId] = (),
    ) -> Skip:
        """Records a skip."""
        skip = Skip(fork=fork, join=join, kind=kind, branch=tuple(branch), shortcut=tuple(shortcut))
        self.skips.append(skip)
        return skip

    def block(self, kind: BlockKind, module: str, start: int, skip: Skip) -> None:
        """Records the block of all ops since ``start``."""
        inside = {op.id: op for op in self.ops[start:]}
        shapes = {p.name: p.spec.shape for ps in self.weights.values() for p in ps}
        heavy = [
            inside[o] for o in skip.branch if o in inside and inside[o].kind in ("conv2d", "linear")
        ]
        channel = 1 if len(self._shape[skip.join]) == 4 else -1
        widths = tuple(op.outputs[0].shape[channel] for op in heavy)
        kernels = tuple((*shapes[op.parameters[0]], 1, 1)[2] for op in heavy)
        ratio = min(widths, default=1) / self._shape[skip.join][channel]
        self.blocks.append(
            Block(
                kind=kind,
                module=module,
                ops=tuple(inside),
                skip=skip,
                squeeze=ratio,
                widths=widths,
                kernels=kernels,
            )
        )

    def stage(self, name: str, start: int, resolution: tuple[int, ...]) -> None:
        """Records the stage of all ops since ``start``."""
        ops = tuple(op.id for op in self.ops[start:])
        blocks = sum(block.skip.join in set(ops) for block in self.blocks)
        self.stages.append(Stage(name=name, ops=ops, resolution=resolution, blocks=blocks))

    def since(self, start: int) -> list[OpId]:
        """Ids of the ops from ``start`` on."""
        return [op.id for op in self.ops[start:]]

    def report(self, *outputs: OpId, measured: bool = True) -> Report:
        """The finished report; with gradients and attributions where ``measured``."""
        graph = ModelGraph(
            name=self.name,
            ops=tuple(self.ops),
            edges=tuple(self.edges),
            modules=self._modules(),
            inputs=tuple(self.inputs),
            outputs=tuple(
                GraphOutput(name=f"output{i or ''}", src=o) for i, o in enumerate(outputs)
            ),
            how=How(mode="meta"),
        )
        structure = Structure(
            skips=tuple(self.skips),
            blocks=tuple(self.blocks),
            stages=tuple(self.stages),
            costs=self._costs(graph),
        )
        report = Report(
            graph=graph,
            structure=structure,
            provenance=Provenance(
                tool="resnet-viz 0", model=self.name, weights="random", input="1×3×224×224", seed=0
            ),
        )
        return measure(report) if measured else report

    def _modules(self) -> tuple[ModuleNode, ...]:
        paths: dict[str, None] = {"": None}
        for op in self.ops:
            parts = op.module.split(".") if op.module else []
            for i in range(len(parts)):
                paths.setdefault(".".join(parts[: i + 1]))
        children: dict[str, list[str]] = {path: [] for path in paths}
        for path in paths:
            if path:
                children[path.rpartition(".")[0]].append(path)
        return tuple(
            ModuleNode(
                path=path,
                type_name=self.types.get(path, "Sequential"),
                children=tuple(children[path]),
                parameters=tuple(self.weights.get(path, ())),
                calls=1,
            )
            for path in paths
        )

    def _costs(self, graph: ModelGraph) -> Costs:
        def cost(key: str, ops: Sequence[Op]) -> Cost:
            return Cost(
                key=key,
                params=sum(op.params for op in ops),
                macs=sum(op.macs or 0 for op in ops),
                activation_bytes=sum(s.nbytes for op in ops if not op.inplace for s in op.outputs),
            )

        owned: dict[str, list[Op]] = {}
        for op in graph.ops:
            owned.setdefault(op.module, []).append(op)
        return Costs(
            total=cost("total", graph.ops),
            ops=tuple(cost(op.id, [op]) for op in graph.ops),
            modules=tuple(cost(path, ops) for path, ops in owned.items()),
            blocks=tuple(cost(b.skip.join, [graph[o] for o in b.ops]) for b in self.blocks),
            stages=tuple(cost(s.name, [graph[o] for o in s.ops]) for s in self.stages),
        )


def _stats(numel: int, depth: float, wave: float) -> GradientStats:
    l2 = 0.02 * 10 ** (1.5 * (1 - depth)) * (1 + 0.3 * math.sin(wave))
    rms = l2 / math.sqrt(numel)
    return GradientStats(numel=numel, l2=l2, rms=rms, low=-4 * rms, high=4.2 * rms)


def measure(report: Report) -> Report:
    """The report with made-up gradients, shares, attributions and one finding."""
    graph = report.graph
    n = len(graph.ops)
    calls = tuple(
        CallGradient(op=op.id, stats=_stats(op.outputs[0].numel, i / n, i))
        for i, op in enumerate(graph.ops)
    )
    first = {p: i for i, op in reversed(list(enumerate(graph.ops))) for p in op.parameters}
    parameters = tuple(
        ParameterGradient(
            name=p.name,
            stats=_stats(p.spec.numel, first[p.name] / n, first[p.name] + len(p.name)),
            weight_l2=math.sqrt(p.spec.numel) * 0.05,
        )
        for p in graph.parameters
    )
    ends = {(s.fork, (*s.shortcut, s.join)[0]) for s in report.structure.skips}
    shares = []
    for i, op in enumerate(graph.nodes()):
        targets = list(dict.fromkeys(e.dst for e in graph.edges_out(op.id)))
        if len(targets) < 2:
            continue
        weights = [(1.9 if (op.id, t) in ends else 1.0) + 0.3 * math.sin(i) for t in targets]
        for target, weight in zip(targets, weights, strict=True):
            share = weight / sum(weights)
            shares.append(
                EdgeShare(src=op.id, dst=target, share=share, norm_ratio=share, cosine=0.8)
            )
    flow = GradientFlow(
        loss=Loss(name="cross entropy on seeded labels", value=6.93),
        mode="train",
        device="cpu",
        batch_size=8,
        data="seeded N(0, 1) inputs",
        calls=calls,
        parameters=parameters,
        shares=tuple(shares),
    )
    finding = Finding(
        severity="warning",
        what="exploding gradient",
        where=(graph.ops[0].id,),
        evidence="slope 0.21 decades per block over 16 blocks",
        threshold="more than 0.1 decades per block",
        source="He et al. 2015",
        remedy="add normalisation or skip connections",
    )
    return replace(report, measurements=(flow, _attributions()), findings=(finding,))


_PIXEL = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010802000000907753de0000000c494441"
    "54789c6358d09000000344018147fa26ae0000000049454e44ae426082"
)


def _attributions() -> Attributions:
    def heat(low: float) -> Heatmap:
        data = bytes(
            round(255 * math.exp(-((x - 4) ** 2 + (y - 3) ** 2) / 9))
            for y in range(8)
            for x in range(8)
        )
        return Heatmap(width=8, height=8, low=low, high=1.0, data=data)

    return Attributions(
        pictures=(
            Picture(name="photo.png", width=1, height=1, media_type="image/png", data=_PIXEL),
        ),
        maps=(
            Attribution(
                method="integrated gradients",
                input=0,
                target="class 281",
                heatmap=heat(-1.0),
                signed=True,
                delta=0.002,
                relative_delta=0.01,
                verdict="complete to 1 %",
            ),
            Attribution(method="saliency", input=0, target="class 281", heatmap=heat(0.0)),
            Attribution(
                method="grad-cam", input=0, target="class 281", layer="layer4", heatmap=heat(0.0)
            ),
        ),
        note="The weights are random: these maps show only the architecture.",
    )


def _bottleneck(net: Net, path: str, x: OpId, width: int, stride: int) -> OpId:
    y = net.relu(f"{path}.relu", net.bn(f"{path}.bn1", net.conv(f"{path}.conv1", x, width, 1)))
    y = net.conv(f"{path}.conv2", y, width, 3, stride)
    y = net.relu(f"{path}.relu", net.bn(f"{path}.bn2", y))
    return net.bn(f"{path}.bn3", net.conv(f"{path}.conv3", y, 4 * width, 1))


def _basic(net: Net, path: str, x: OpId, width: int, stride: int) -> OpId:
    y = net.bn(f"{path}.bn1", net.conv(f"{path}.conv1", x, width, 3, stride))
    y = net.conv(f"{path}.conv2", net.relu(f"{path}.relu", y), width, 3)
    return net.bn(f"{path}.bn2", y)


def _gate(net: Net, path: str, x: OpId) -> OpId:
    """Squeeze and excitation: the block's output times a gate computed from it."""
    start = len(net.ops)
    n, c, _, _ = net.shape(x)
    y = net.op("adaptive_avg_pool2d", f"{path}.avgpool", x, shape=(n, c, 1, 1))
    y = net.relu(f"{path}.activation", net.conv(f"{path}.fc1", y, c // 16, 1))
    y = net.op("sigmoid", f"{path}.scale_activation", net.conv(f"{path}.fc2", y, c, 1))
    branch = net.since(start)
    join = net.op("mul", path, x, y)
    net.types[path] = "SqueezeExcitation"
    net.close(x, join, "gate", branch)
    return join


def resnet(
    depths: Sequence[int] = (3, 4, 6, 3),
    *,
    bottleneck: bool = True,
    se: bool = False,
    name: str = "",
    widths: Sequence[int] = (64, 128, 256, 512),
    measured: bool = True,
) -> Report:
    """A torchvision-like ResNet; the default is ResNet-50 (175 ops, 16 skips)."""
    per_block = 3 if bottleneck else 2
    net = Net(name or f"{'se-' if se else ''}resnet{sum(depths) * per_block + 2}")
    net.types[""] = "ResNet"
    x = net.relu("relu", net.bn("bn1", net.conv("conv1", net.x, 64, 7, 2)))
    n, c, h, w = net.shape(x)
    x = net.op("max_pool2d", "maxpool", x, shape=(n, c, h // 2, w // 2))
    for s, (depth, width) in enumerate(zip(depths, widths, strict=True)):
        begin = len(net.ops)
        for b in range(depth):
            path, start, fork = f"layer{s + 1}.{b}", len(net.ops), x
            stride = 2 if s and not b else 1
            y = (_bottleneck if bottleneck else _basic)(net, path, x, width, stride)
            if se:
                y = _gate(net, f"{path}.se", y)
            branch, down = net.since(start), len(net.ops)
            if net.shape(y) != net.shape(x):
                d = f"{path}.downsample"
                x = net.bn(f"{d}.1", net.conv(f"{d}.0", x, net.shape(y)[1], 1, stride))
            shortcut = net.since(down)
            join = net.op("add", path, y, x, inplace=True)
            x = net.relu(f"{path}.relu", join)
            kind: SkipKind = "projection" if shortcut else "identity"
            skip = net.close(fork, join, kind, branch, shortcut)
            net.types[path] = "Bottleneck" if bottleneck else "BasicBlock"
            net.block("bottleneck" if bottleneck else "basic", path, start, skip)
        net.stage(f"layer{s + 1}", begin, net.shape(x)[2:])
    n, c = net.shape(x)[:2]
    x = net.op("adaptive_avg_pool2d", "avgpool", x, shape=(n, c, 1, 1))
    x = net.op("flatten", "", x, shape=(n, c))
    return net.report(net.linear("fc", x, 1000), measured=measured)


def resnet50() -> Report:
    """ResNet-50: 16 bottlenecks, 12 identity and 4 projection skips."""
    return resnet()


def resnet18() -> Report:
    """ResNet-18: 8 basic blocks, 5 identity and 3 projection skips."""
    return resnet((2, 2, 2, 2), bottleneck=False)


def se_resnet50() -> Report:
    """ResNet-50 with squeeze and excitation: 16 gates inside 16 bottlenecks."""
    return resnet(se=True)


def vit(depth: int = 12, width: int = 768) -> Report:
    """A ViT-B/16-like encoder: an attention and an MLP block per layer."""
    net = Net("vit_b_16")
    net.types |= {"": "VisionTransformer", "patch_embed": "PatchEmbed"}
    x = net.conv("patch_embed.proj", net.x, width, 16, 16)
    x = net.op("flatten", "patch_embed", x, shape=(1, width, 196))
    x = net.op("transpose", "patch_embed", x, shape=(1, 196, width))
    token = net.op("expand", "", shape=(1, 1, width), weights=[])
    x = net.op("cat", "", token, x, shape=(1, 197, width))
    x = net.op("add", "", x)
    for i in range(depth):
        path = f"blocks.{i}"
        net.types |= {path: "Block", f"{path}.attn": "Attention", f"{path}.mlp": "Mlp"}
        start, fork = len(net.ops), x
        y = net.linear(f"{path}.attn.qkv", net.norm(f"{path}.norm1", x), 3 * width)
        heads = width // 64
        y = net.op("reshape", f"{path}.attn", y, shape=(1, 197, 3, heads, 64))
        y = net.op("permute", f"{path}.attn", y, shape=(3, 1, heads, 197, 64))
        y = net.op("unbind", f"{path}.attn", y, shape=(1, heads, 197, 64))
        q, k, v = (net.op("identity", f"{path}.attn.{n}_norm", y) for n in "qkv")
        k = net.op("transpose", f"{path}.attn", k, shape=(1, heads, 64, 197))
        a = net.op("matmul", f"{path}.attn", q, k, shape=(1, heads, 197, 197))
        a = net.op("softmax", f"{path}.attn", a)
        y = net.op("matmul", f"{path}.attn", a, v, shape=(1, heads, 197, 64))
        y = net.op("reshape", f"{path}.attn", y, shape=(1, 197, width))
        y = net.linear(f"{path}.attn.proj", y, width)
        branch = net.since(start)
        x = net.op("add", path, fork, y)
        net.block("attention", path, start, net.close(fork, x, "identity", branch))
        start, fork = len(net.ops), x
        y = net.linear(f"{path}.mlp.fc1", net.norm(f"{path}.norm2", x), 4 * width)
        y = net.linear(f"{path}.mlp.fc2", net.op("gelu", f"{path}.mlp.act", y), width)
        branch = net.since(start)
        x = net.op("add", path, fork, y)
        net.block("mlp", path, start, net.close(fork, x, "identity", branch))
    x = net.op("getitem", "", net.norm("norm", x), shape=(1, width))
    return net.report(net.linear("head", x, 1000))


def densenet(layers: Sequence[int] = (6, 12, 24, 16), growth: int = 32) -> Report:
    """DenseNet-121 by default: each layer takes the concatenation of all before it."""
    net = Net("densenet121")
    net.types |= {"": "DenseNet", "features": "Sequential"}
    x = net.bn("features.norm0", net.conv("features.conv0", net.x, 64, 7, 2))
    x = net.relu("features.relu0", x)
    n, c, h, w = net.shape(x)
    x = net.op("max_pool2d", "features.pool0", x, shape=(n, c, h // 2, w // 2))
    for s, depth in enumerate(layers):
        begin, stem = len(net.ops), x
        block = f"features.denseblock{s + 1}"
        net.types[block] = "_DenseBlock"
        parts, start = [x], len(net.ops)
        for i in range(depth + 1):
            path = f"{block}.denselayer{i + 1}" if i < depth else block
            branch = net.since(start)
            n, _, h, w = net.shape(x)
            width = sum(net.shape(p)[1] for p in parts)
            joined = net.op("cat", path, *parts, shape=(n, width, h, w))
            if i:
                skip = net.close(stem, joined, "concat", branch)
                net.block("dense", block, start, skip)
            if i == depth:
                x = joined
                break
            net.types[path] = "_DenseLayer"
            y = net.relu(f"{path}.relu1", net.bn(f"{path}.norm1", joined))
            y = net.bn(f"{path}.norm2", net.conv(f"{path}.conv1", y, 4 * growth, 1))
            parts.append(net.conv(f"{path}.conv2", net.relu(f"{path}.relu2", y), growth, 3))
        net.stage(block, begin, net.shape(x)[2:])
        if s + 1 < len(layers):
            path = f"features.transition{s + 1}"
            net.types[path] = "_Transition"
            x = net.relu(f"{path}.relu", net.bn(f"{path}.norm", x))
            x = net.conv(f"{path}.conv", x, net.shape(x)[1] // 2, 1)
            n, c, h, w = net.shape(x)
            x = net.op("avg_pool2d", f"{path}.pool", x, shape=(n, c, h // 2, w // 2))
    x = net.op("relu", "", net.bn("features.norm5", x))
    n, c = net.shape(x)[:2]
    x = net.op("adaptive_avg_pool2d", "", x, shape=(n, c, 1, 1))
    x = net.op("flatten", "", x, shape=(n, c))
    return net.report(net.linear("classifier", x, 1000))


def hostile() -> Report:
    """A block in a module whose name is an attack, and one written from right to left."""
    net = Net("</script><img src=x onerror=alert(1)>", (1, 8, 8, 8))
    evil = "</script><img src=x onerror=alert(1)>"
    start = len(net.ops)
    y = net.relu(f"{evil}.act", net.conv(f"{evil}.\"'&]]>", net.x, 8, 3))
    y = net.conv(f"{evil}.کانولوشن", y, 8, 3)
    branch = net.since(start)
    x = net.op("add", evil, net.x, y)
    net.types[evil] = "<script>alert(2)</script>"
    net.block("basic", evil, start, net.close(net.x, x, "identity", branch))
    return net.report(x)


ALL: dict[str, Callable[[], Report]] = {
    "resnet50": resnet50,
    "resnet18": resnet18,
    "se_resnet50": se_resnet50,
    "vit": vit,
    "densenet": densenet,
    "hostile": hostile,
}
"""Every ready-made report, by name, for parametrised tests."""
