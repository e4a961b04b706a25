"""A program of ``torch.export`` as a module tree: the one it was exported from.

A program is one flat list of aten calls; each remembers the modules around it. Here
the list runs inside modules of those names and classes, so that a trace of it has the
paths, the parameter names and the structure that a trace of the live model has.
(``torch.export.unflatten`` calls the second call of a module another module, and all
of them ``InterpreterModule``.)
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from typing import Any

from torch import Tensor, fx, nn
from torch.export import ExportedProgram

from resnet_viz.sources.exported_runs import Program, Run, Visit, attribute_of, stack_of


class ExportedPart(nn.Module):
    """A module of the program; its subclasses carry the names of the original classes."""

    def forward(self, run: Run, visit: Visit) -> None:
        """Runs the steps that ran in this module; values are kept by the run."""
        run.steps(visit)


class ExportedModel(ExportedPart):
    """The root: takes and returns what the exported model took and returned."""

    _program: Program

    def call(self, *args: Any, **kwargs: Any) -> Any:
        """What the program returns for these inputs."""
        return Run(self, self._program).all(args, kwargs)


def module_of(program: ExportedProgram) -> ExportedModel:
    """The program as a module; its parameters are the program's own."""
    # Guards would be Python code out of the file; older releases of torch have none.
    guards = "check_guards" in inspect.signature(program.module).parameters
    flat = program.module(check_guards=False) if guards else program.module()
    plan = Program(program, flat)
    root = _tree(program, flat, plan.names)
    root._program = plan
    return root


# -- the tree ----------------------------------------------------------------------


def _tree(program: ExportedProgram, flat: Any, names: list[str]) -> ExportedModel:
    classes = {path: type_name for _, path, type_name in _calls(flat)}
    root: ExportedModel = _class(classes.get("", "ExportedProgram"), ExportedModel, names)()
    made: dict[str, nn.Module] = {"": root}

    def at(path: str) -> nn.Module:
        if path not in made:
            parent, _, name = path.rpartition(".")
            made[path] = _class(classes.get(path, "Module"), ExportedPart)()
            at(parent)._modules[name] = made[path]
        return made[path]

    # In the order of registration, as far as the program remembers it.
    for entry in program.module_call_graph:
        if entry.fqn in classes:
            at(entry.fqn)
    for path in classes:
        at(path)
    own: set[int] = set()
    for name, parameter in flat.named_parameters(remove_duplicate=False):
        parent, _, last = name.rpartition(".")
        at(parent).register_parameter(last, parameter)
        own.add(id(parameter))
    for name, buffer in flat.named_buffers(remove_duplicate=False):
        parent, _, last = name.rpartition(".")
        at(parent).register_buffer(last, buffer)
        own.add(id(buffer))
    for node in flat.graph.nodes:
        value = attribute_of(flat, node.target) if node.op == "get_attr" else None
        if isinstance(value, Tensor) and id(value) not in own:
            parent, _, last = node.target.rpartition(".")
            at(parent).register_buffer(last, value, persistent=False)
    root.eval()
    return root


def _calls(module: nn.Module) -> Iterable[tuple[str, str, str]]:
    """Key, path and class of every module that the program ran, subgraphs included."""
    for part in module.modules():
        if isinstance(part, fx.GraphModule):
            for node in part.graph.nodes:
                yield from stack_of(node)


def _class(name: str, base: type[Any], arguments: Iterable[str] = ()) -> type[Any]:
    members: dict[str, Any] = {}
    if issubclass(base, ExportedModel):
        # A tracer names inputs by the signature of ``forward``.
        def forward(self: ExportedModel, *args: Any, **kwargs: Any) -> Any:
            return self.call(*args, **kwargs)

        kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
        parameters = [inspect.Parameter(a, kind, default=None) for a in ("self", *arguments)]
        forward.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        members["forward"] = forward
    return type(name.rpartition(".")[2] or "Module", (base,), members)
