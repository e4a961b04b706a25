"""The calls of an exported program, run one by one in the modules they came from.

``exported`` makes the modules; here is what runs in which of them, and how a call is
made: on the device of the inputs, in the mode of gradients it was exported with, and
so that whoever looks for its caller finds the line of the original code.
"""

from __future__ import annotations

import re
import sys
import types
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.export import ExportedProgram
from torch.utils import _pytree as pytree

from resnet_viz.core.units import count

# Guards of the export: they hold no tensor that anything reads.
_CHECKS = re.compile(r"_assert_|sym_constrain_range|_guards_fn|_check")
_FRAME = re.compile(r'File "([^"\n]+)", line (\d+)')
_TORCHS = re.compile(r"(^|[/\\])torch[/\\]")


class Visit:
    """One call of a module: the steps that ran in it."""

    __slots__ = ("key", "path", "steps")

    def __init__(self, key: str, path: str) -> None:
        self.key = key
        self.path = path
        self.steps: list[fx.Node | Visit] = []


def stack_of(node: fx.Node) -> list[tuple[str, str, str]]:
    """Key of the call, path and class of the modules around it, the root first."""
    return [
        (key, path, getattr(kind, "__qualname__", str(kind)))
        for key, (path, kind) in (node.meta.get("nn_module_stack") or {}).items()
    ]


def attribute_of(module: Any, path: str) -> Any:
    """What lies at a dotted path of attributes."""
    found: Any = module
    for name in path.split("."):
        found = getattr(found, name)
    return found


# -- the plan ----------------------------------------------------------------------


class Program:
    """What runs, in which module, and when a value has been read for the last time."""

    def __init__(self, program: ExportedProgram, flat: Any) -> None:
        self.flat = flat
        self.in_spec = program.call_spec.in_spec
        self.out_spec = program.call_spec.out_spec
        self.devices = {
            value.device
            for node in flat.graph.nodes
            if isinstance(value := node.meta.get("val"), Tensor)
        }
        positional, by_keyword = _children(self.in_spec)
        self.keywords: list[str] = list(by_keyword.context or ())
        self.positional = len(_children(positional))
        names = flat.graph._codegen.pytree_info.orig_args
        if len(names) != self.positional + len(self.keywords):  # The export had ``*args``.
            names = [*(f"args_{i}" for i in range(self.positional)), *self.keywords]
        self.names: list[str] = list(names)
        self._plans: dict[int, tuple[Visit, dict[fx.Node, list[fx.Node]]]] = {}

    def __deepcopy__(self, _memo: Any) -> Program:
        return self  # It never changes, so copies of the model share it.

    def leaves(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Any]:
        """The inputs as the flat list of the export.

        Raises:
            TypeError: For other arguments than those of the export.
        """
        given = dict(zip(self.names, args, strict=False)) | kwargs
        if set(given) != set(self.names) or len(args) + len(kwargs) != len(self.names):
            raise TypeError(
                f"the program takes what it was exported with ({', '.join(self.names) or 'nothing'}"
                f"); it was given {count(len(args), 'argument')}"
                + "".join(f", {name}" for name in kwargs)
            )
        first = tuple(given[name] for name in self.names[: self.positional])
        flat, spec = pytree.tree_flatten((first, {name: given[name] for name in self.keywords}))
        if spec != self.in_spec:
            raise TypeError("the inputs are nested in another way than those of the export")
        return flat

    def plan(self, graph: fx.Graph, depth: int) -> tuple[Visit, dict[fx.Node, list[fx.Node]]]:
        """Visits of modules deeper than ``depth``, and the values to drop after each node."""
        if id(graph) not in self._plans:
            self._plans[id(graph)] = _visits(graph, depth), _last_readers(graph)
        return self._plans[id(graph)]


def _children(spec: Any) -> list[Any]:
    """Torch renamed this, and warns of the old name."""
    return list(spec.children() if hasattr(spec, "children") else spec.children_specs)


def _visits(graph: fx.Graph, depth: int) -> Visit:
    root = Visit("", "")
    opened = [root]
    for node in graph.nodes:
        # Arithmetic on sizes and picks from tuples belong to no module.
        stack = stack_of(node) if _is_op(node) else []
        if stack:
            stack, same = stack[depth:], 0
            for visit, (key, _, _) in zip(opened[1:], stack, strict=False):
                if visit.key != key:
                    break
                same += 1
            del opened[same + 1 :]
            for key, path, _ in stack[same:]:
                visit = Visit(key, path)
                opened[-1].steps.append(visit)
                opened.append(visit)
        opened[-1].steps.append(node)
    return root


def _is_op(node: fx.Node) -> bool:
    return isinstance(
        node.target, torch._ops.OpOverload | torch._ops.HigherOrderOperator
    ) and not _CHECKS.search(str(node.target))


def _last_readers(graph: fx.Graph) -> dict[fx.Node, list[fx.Node]]:
    last: dict[fx.Node, fx.Node] = {}
    for node in graph.nodes:
        for read in node.all_input_nodes:
            last[read] = node
    drops: dict[fx.Node, list[fx.Node]] = {}
    for read, node in last.items():
        drops.setdefault(node, []).append(read)
    return drops


# -- one run -----------------------------------------------------------------------


class Run:
    """One forward of the program."""

    def __init__(self, model: nn.Module, program: Program) -> None:
        self._model = model
        self._program = program
        self._values: dict[fx.Node, Any] = {}
        self._inputs: list[Any] = []
        self._drops: dict[fx.Node, list[fx.Node]] = {}
        self._result: Any = None
        self._depth = 0
        self._device: torch.device | None = None

    def all(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """What the program returns."""
        leaves = self._program.leaves(args, kwargs)
        tensors = [*(t for t in leaves if isinstance(t, Tensor)), *self._model.parameters()]
        self._device = tensors[0].device if tensors else None
        results = self._graph(self._program.flat.graph, leaves, depth=1)
        return pytree.tree_unflatten(list(results), self._program.out_spec)

    def _graph(self, graph: fx.Graph, inputs: list[Any], *, depth: int) -> Any:
        """The outputs of a graph or subgraph whose modules lie below ``depth`` others."""
        outside = self._inputs, self._drops, self._depth, self._values
        visit, drops = self._program.plan(graph, depth)
        self._inputs, self._drops, self._depth, self._values = list(inputs), drops, depth, {}
        try:
            self.steps(visit)
            return self._result
        finally:
            self._inputs, self._drops, self._depth, self._values = outside

    def steps(self, visit: Visit) -> None:
        """Runs the steps of one visit; deeper ones through their module."""
        for step in visit.steps:
            if isinstance(step, Visit):
                self._model.get_submodule(step.path)(self, step)
                continue
            self._values[step] = self._node(step)
            for read in self._drops.get(step, ()):
                del self._values[read]

    def _node(self, node: fx.Node) -> Any:
        if node.op == "placeholder":
            return self._inputs.pop(0)
        if node.op == "get_attr":
            return self._attribute(str(node.target), node)
        args: Any = fx.map_arg(node.args, self._values.__getitem__)
        kwargs: Any = fx.map_arg(node.kwargs, self._values.__getitem__)
        if node.op == "output":
            self._result = args[0]
            return None
        target: Any = node.target
        if node.op != "call_function" or _CHECKS.search(str(target)):
            return None
        if isinstance(target, torch._ops.HigherOrderOperator):
            return self._higher_order(target, args, node)
        if not isinstance(target, torch._ops.OpOverload):
            return target(*args, **kwargs)
        args, kwargs = self._moved(args), self._moved(kwargs)
        if target is torch.ops.aten.convolution.default:
            target, args = _convolution(*args)
        elif target is torch.ops.aten.constant_pad_nd.default:
            target, args = torch.ops.aten.pad.default, (*args[:2], "constant", *args[2:])
        return _caller(*_origin(node))(target, args, kwargs)

    def _attribute(self, path: str, node: fx.Node) -> Any:
        try:
            # From the tree, where a tracer may have put stand-ins.
            return attribute_of(self._model, path)
        except AttributeError:
            return attribute_of(node.graph.owning_module, path)

    def _moved(self, value: Any) -> Any:
        """Where the program says its own device, the device it runs on now."""
        if isinstance(value, torch.device):
            return self._device if value in self._program.devices else value
        if isinstance(value, dict):
            return {k: self._moved(v) for k, v in value.items()}
        if isinstance(value, tuple | list):
            return type(value)(self._moved(v) for v in value)
        return value

    def _higher_order(self, op: Any, args: tuple[Any, ...], node: fx.Node) -> Any:
        """Control flow is run here, so that the ops inside are ops like all others."""
        depth = len(stack_of(node)) or self._depth

        def body(module: fx.GraphModule, inputs: Iterable[Any]) -> Any:
            return self._graph(module.graph, list(inputs), depth=depth)

        name = op.name()
        if name == "wrap_with_set_grad_enabled":
            with torch.set_grad_enabled(args[0]):
                return body(args[1], args[2:])
        if name == "wrap_with_autocast":
            context: AbstractContextManager[Any] = torch.autocast(
                args[0], dtype=args[1], enabled=args[2], cache_enabled=args[3]
            )
            with context:
                return body(args[4], args[5:])
        if name == "cond":
            return body(args[1] if args[0] else args[2], args[3] if len(args) > 3 else ())
        if name == "while_loop":
            values, more = tuple(args[2]), tuple(args[3]) if len(args) > 3 else ()
            while body(args[0], (*values, *more))[0]:
                values = tuple(body(args[1], (*values, *more)))
            return values
        return op(*args, **dict(node.kwargs))


def _convolution(
    x: Any, weight: Any, bias: Any, stride: Any, padding: Any, dilation: Any,
    transposed: bool, output_padding: Any, groups: int,
) -> tuple[Any, tuple[Any, ...]]:  # fmt: skip
    """The call that a decomposed program made into the one kernel of all convolutions."""
    aten, first = torch.ops.aten, (x, weight, bias, stride, padding)
    if not transposed:
        plain = (aten.conv1d, aten.conv2d, aten.conv3d)[len(stride) - 1]
        return plain.default, (*first, dilation, groups)
    wide = (aten.conv_transpose1d.default, aten.conv_transpose2d.input, aten.conv_transpose3d.input)
    return wide[len(stride) - 1], (*first, output_padding, groups, dilation)


def _origin(node: fx.Node) -> tuple[str, int]:
    """File and line of the user's code that the call came from; as far as was recorded."""
    frames = _FRAME.findall(node.meta.get("stack_trace") or "")
    users = [frame for frame in frames if not _TORCHS.search(frame[0])]
    return (users[-1][0], int(users[-1][1])) if users else ("<torch>", 1)


@lru_cache(maxsize=4096)
def _caller(file: str, line: int) -> Callable[..., Any]:
    """A function that calls, and that tells whoever looks for the caller this file and line."""

    def call(function: Any, args: Any, kwargs: Any) -> Any:
        return function(*args, **kwargs)

    code = call.__code__
    # The statement stands one line below the ``def``. Codes compare by name, not by file.
    moved = code.replace(co_filename=file, co_name=file, co_firstlineno=max(line - 1, 0))
    return types.FunctionType(moved, {"__name__": _module_name(file)})


def _module_name(file: str) -> str:
    """The dotted name under which the file is imported, as far as its path tells."""
    for name, module in list(sys.modules.items()):
        if getattr(module, "__dict__", {}).get("__file__") == file:
            return name
    parts = re.split(r"[/\\]", file)
    home = max((i for i, p in enumerate(parts) if p.endswith("-packages")), default=len(parts) - 2)
    return ".".join(parts[home + 1 :]).removesuffix(".py").removesuffix(".__init__")
