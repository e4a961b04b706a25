"""Where ``forward`` raised: the call, the module, the line, the cause, and a hint that is true."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from resnet_viz.core.errors import TraceError
from resnet_viz.core.graph import Failure, ModelGraph
from resnet_viz.tracing.tracer import trace_model


class Does(nn.Module):
    """A module whose forward is one function."""

    def __init__(self, do: Callable[..., Any], **modules: nn.Module) -> None:
        super().__init__()
        self.do = do
        for name, module in modules.items():
            self.add_module(name, module)

    def forward(self, *args: Any) -> Any:
        return self.do(self, *args)


def line_of(word: str) -> str:
    """``file:line`` of the one line of this file that ends with the mark ``# word``."""
    lines = Path(__file__).read_text("utf-8").splitlines()
    (found,) = [i for i, line in enumerate(lines, 1) if line.endswith(f"# {word}")]
    return f"tests/tracing/test_failures.py:{found}"


def broken(model: nn.Module, *args: Any, modes: Any = ("meta", "fake", "real")) -> TraceError:
    with pytest.raises(TraceError) as caught:
        trace_model(model, args, modes=modes)
    assert len(str(caught.value).splitlines()) == 1
    return caught.value


def failure(model: nn.Module, *args: Any, modes: Any = ("meta", "fake", "real")) -> Failure:
    graph = broken(model, *args, modes=modes).graph
    assert graph is not None
    assert graph.failure is not None
    return graph.failure


def told(graph: ModelGraph | None) -> tuple[ModelGraph, Failure]:
    assert graph is not None
    assert graph.failure is not None
    return graph, graph.failure


def test_the_failing_call_is_the_last_op_and_has_its_inputs() -> None:
    model = nn.Sequential(nn.Conv2d(3, 8, 1), nn.ReLU(), nn.Conv2d(4, 2, 1))
    error = broken(model, torch.ones(1, 3, 5, 5))
    graph, failure = told(error.graph)
    assert graph.ops[-1].id == failure.op == error.op == "2/conv2d#0"
    assert graph.ops[-1].outputs == ()
    assert graph.ops[-1].source_line == failure.source_line
    assert [e.src for e in graph.edges_in(failure.op)] == ["1/relu#0"]
    assert [s.shape for s in failure.inputs] == [(1, 8, 5, 5), (2, 4, 1, 1), (2,)]
    assert failure.module == error.module == "2"
    assert failure.error.startswith("RuntimeError: Given groups=1")
    assert "has 8 channels and the convolution takes 4" in failure.hint
    assert failure.hint in str(error)
    assert graph.how.mode == "real"
    assert graph.how.why.count("raised") == 3


def test_plain_python_is_told_with_its_innermost_line() -> None:
    def deep(x: Tensor) -> None:
        raise KeyError("lost")  # deep

    model = nn.Sequential(nn.ReLU(), Does(lambda self, x: deep(x)))
    found = failure(model, torch.ones(2, 3))
    assert found == Failure(
        error="KeyError: 'lost'",
        module="1",
        source_line=line_of("deep"),
        inputs=found.inputs,
    )
    assert [s.shape for s in found.inputs] == [(2, 3)]


def test_what_the_standard_library_raises_is_put_down_to_its_caller() -> None:
    import json

    found = failure(Does(lambda self, x: json.loads("{")), torch.ones(2))
    assert found.source_line.startswith("tests/tracing/test_failures.py:")
    assert found.error.startswith("JSONDecodeError")


@pytest.mark.parametrize("quiet", [False, True])
def test_an_exception_that_user_code_wraps_still_names_the_op(quiet: bool) -> None:
    def wraps(self: Any, x: Tensor) -> Tensor:
        try:
            return x @ x
        except RuntimeError as error:
            raise ValueError("no good") from (None if quiet else error)

    error = broken(Does(wraps), torch.ones(2, 3))
    _, found = told(error.graph)
    assert found.op == "matmul#0"
    assert found.error.startswith("ValueError: no good, raised from RuntimeError: ")
    assert "inner sizes 3 and 2" in found.hint
    assert isinstance(error.__cause__, ValueError)


def test_a_failure_that_was_answered_is_not_the_one_told() -> None:
    def tries(self: Any, x: Tensor) -> None:
        try:
            x @ x
        except RuntimeError:
            x @ x.T
            self.told["missing"]  # answered

    model = Does(tries)
    model.told = {}  # type: ignore[assignment]
    graph, found = told(broken(model, torch.ones(2, 3)).graph)
    assert found.op == ""
    assert found.source_line == line_of("answered")
    assert [op.id for op in graph.ops][-1] == "matmul#0"


def test_a_module_that_raised_and_was_caught_is_not_the_one_that_ended_it() -> None:
    def fails(self: Any, x: Tensor) -> None:
        raise ValueError("caught")

    def outer(self: Any, x: Tensor) -> None:
        try:
            self.first(x)
        except ValueError:
            x = x + 1
        self.second(x)

    def ends(self: Any, x: Tensor) -> None:
        raise KeyError("at last")

    found = failure(Does(outer, first=Does(fails), second=Does(ends)), torch.ones(2))
    assert (found.module, found.error) == ("second", "KeyError: 'at last'")


@pytest.mark.parametrize("modes", [("meta",), ("fake",), ("real",)])
def test_a_forward_that_catches_and_goes_on_has_no_failure(modes: Any) -> None:
    def goes_on(self: Any, x: Tensor) -> Tensor:
        try:
            return self.wrong(x)
        except RuntimeError:
            return self.right(x)

    model = Does(goes_on, wrong=nn.Linear(4, 2), right=nn.Linear(3, 2))
    graph = trace_model(model, (torch.ones(1, 3),), modes=modes)
    assert graph.failure is None
    assert [op.id for op in graph.ops] == ["right/linear#0"]


def test_the_second_call_of_a_module_is_told_apart() -> None:
    def twice(self: Any, x: Tensor) -> Tensor:
        return self.layer(self.layer(x)[:, :2])

    error = broken(Does(twice, layer=nn.Linear(4, 4)), torch.ones(1, 4))
    graph, found = told(error.graph)
    assert found.op == "layer/linear#1"
    assert [op.id for op in graph.ops] == ["layer/linear#0", "getitem#0", "layer/linear#1"]
    assert graph.module("layer").calls == 2


@pytest.mark.parametrize(
    "raised", [KeyError("\x1b[2J\n</script>‮"), SystemExit(3), RecursionError(), MemoryError()]
)
def test_any_exception_is_one_line_of_plain_text(raised: BaseException) -> None:
    def fails(self: Any, x: Tensor) -> None:
        raise raised

    error = broken(Does(fails), torch.ones(1))
    _, found = told(error.graph)
    assert found.error.isprintable()
    assert type(raised).__name__ in found.error
    assert error.__cause__ is raised


def test_an_exception_that_cannot_be_printed() -> None:
    class MuteError(Exception):
        def __str__(self) -> str:
            raise ValueError("no words")

    def fails(self: Any, x: Tensor) -> None:
        raise MuteError

    assert failure(Does(fails), torch.ones(1)).error.startswith(
        "MuteError: its message cannot be read"
    )


def test_the_real_run_is_told_where_the_modes_differ() -> None:
    def reads(self: Any, x: Tensor) -> Tensor:
        if x.sum() > 0:
            return self.up(x)
        return x

    model = Does(reads, up=nn.Linear(5, 2))
    graph, found = told(broken(model, torch.ones(1, 4)).graph)
    assert (found.op, graph.how.mode) == ("up/linear#0", "real")
    with torch.device("meta"):
        model = Does(reads, up=nn.Linear(5, 2))
    graph, found = told(broken(model, torch.ones(1, 4)).graph)
    assert graph.how.mode == "meta"
    assert "meta device" in found.hint


def test_a_recursion_without_end_is_put_down_to_the_model() -> None:
    model = Does(lambda self, x: self(self.layer(x)), layer=nn.Linear(2, 2))
    found = failure(model, torch.ones(1, 2))
    assert found.error.startswith("RecursionError")
    assert found.source_line.startswith("tests/tracing/test_failures.py:")


def test_a_hint_does_not_take_a_sample_for_the_input() -> None:
    model = Does(lambda self, x: torch.vmap(self.layer)(x), layer=nn.Linear(5, 4))
    hint = failure(model, torch.ones(2, 4)).hint
    assert "in_features=4" in hint
    assert "--input" not in hint


def test_arguments_that_do_not_bind_name_what_forward_takes() -> None:
    class Two(nn.Module):
        def forward(self, x: Tensor, mask: Tensor, scale: float = 1.0) -> Tensor:
            return x * mask

    found = failure(Two(), torch.ones(1))
    assert (found.module, found.op, found.source_line) == ("", "", "")
    assert found.hint == (
        "forward takes x, mask, scale (optional): give each input by its name, "
        "as in --input mask=SHAPE"
    )


class Halves(nn.Module):
    """Weights of another dtype than the input, which only a real run minds."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(5, 2, dtype=torch.float16))

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight)


ones = torch.ones
CASES: list[tuple[Callable[..., Any], tuple[Tensor, ...], str]] = [
    (lambda self, x: F.linear(x + 1, ones(2, 5)), (ones(3, 6),), "in_features=6"),
    (lambda self, x: F.linear(x, ones(2, 5)), (ones(3, 6),), "--input 3x5"),
    (lambda self, x: F.linear(x, ones(2, 12)), (ones(1, 3, 2, 2),), "flatten the 1×3×2×2"),
    (lambda self, a, b: a @ b, (ones(2, 3), ones(5, 3)), "3 and 5 must be equal; they are if"),
    (lambda self, a, b: a.bmm(b), (ones(2, 3, 4), ones(3, 4, 4)), "batch axes"),
    (lambda self, x: F.conv2d(x, ones(4, 3, 1, 1)), (ones(1, 64, 8, 8),), "--input 1x3x8x8"),
    (lambda self, x: F.conv2d(x, ones(4, 3, 1, 1)), (ones(1, 8, 8, 3),), "permute it to N×C×H×W"),
    (lambda self, x: F.conv2d(x, ones(4, 3, 1, 1)), (ones(1, 3),), "takes N×C×H×W"),
    (lambda self, x: F.conv2d(x + 1, ones(4, 4, 3, 3), groups=2), (ones(1, 6, 8, 8),), "takes 8"),
    (lambda self, x: F.conv_transpose2d(x + 1, ones(3, 4, 1, 1)), (ones(1, 6, 8, 8),), "takes 3"),
    (lambda self, x: F.conv2d(x, ones(4, 3, 3, 3)), (ones(1, 3, 2, 2),), "only 2×2 is left"),
    (lambda self, x: F.max_pool2d(x, 2), (ones(1, 3, 1, 1),), "only 1×1 is left"),
    (
        lambda self, a, b: a + b,
        (ones(1, 64, 8, 8), ones(1, 128, 4, 4)),
        "1×64×8×8 and 1×128×4×4, which do not fit: 64 against 128, 8 against 4; "
        "where this closes a residual, its shortcut needs a projection (1×1 convolution",
    ),
    (lambda self, a, b: a + b, (ones(1, 64), ones(1, 128)), "projection (linear layer)"),
    (lambda self, a, b: a.add_(b), (ones(1, 4, 8, 8), ones(1, 4, 6, 6)), "padding or stride"),
    (lambda self, a, b: a * b, (ones(2, 4), ones(2, 3)), "do not fit: 4 against 3"),
    (
        lambda self, a, b: torch.cat([a, b], 1),
        (ones(1, 64, 8, 8), ones(1, 128, 4, 4)),
        "may differ in axis 1 only: 8 against 4 in axis 2, 8 against 4 in axis 3",
    ),
    (lambda self, a, b: torch.stack([a, b]), (ones(2), ones(3)), "must be equal: 2 against 3"),
    (lambda self, x: F.embedding(x, ones(10, 4)), (ones(1, 8),), "--input 1x8:int64"),
    (lambda self, x: F.layer_norm(x, (8,), ones(8)), (ones(1, 4),), "does not end in 8"),
    (
        lambda self, x: F.batch_norm(x, torch.zeros(8), ones(8)),
        (ones(1, 4, 2, 2),),
        "has 4 channels and the norm was built for 8",
    ),
    (
        lambda self, x: F.batch_norm(x, torch.zeros(4), ones(4), training=True),
        (ones(1, 4),),
        "--batch-size 2 or more, or --eval",
    ),
    (lambda self, x: x.view(1, 512), (ones(1, 512, 7, 7),), "25,088 values and [1, 512] takes 512"),
    (lambda self, x: x.reshape(-1, 1000), (ones(1, 512, 7, 7),), "no multiple of 1,000"),
    (lambda self, x: x.transpose(1, 2).view(2, 12), (ones(2, 3, 4),), "use reshape"),
    (lambda self, x: nn.ModuleList()(x), (ones(1),), "a ModuleList cannot be called"),
]  # fmt: skip


@pytest.mark.parametrize("modes", [("meta",), ("fake",), ("real",)])
@pytest.mark.parametrize(("do", "args", "words"), CASES, ids=[c[2][:24] for c in CASES])
def test_a_hint_names_what_disagrees(
    do: Callable[..., Any], args: tuple[Tensor, ...], words: str, modes: Any
) -> None:
    if "conv_transpose2d" in do.__code__.co_names and modes == ("meta",):
        trace_model(Does(do), args, modes=modes)  # meta does not look at these channels
        return
    assert words in failure(Does(do), *args, modes=modes).hint


@pytest.mark.parametrize(
    ("do", "x", "words"),
    [
        (lambda self, x: F.embedding(x, ones(10, 4)), torch.full((1, 2), 99), "ids go from 0 to 9"),
        (lambda self, x: F.linear(x, ones(3, 2)), torch.ones(1, 2).long(), "--input …:float32"),
        (lambda self, x: F.gelu(x), torch.ones(1, 2).long(), "takes no int64"),
        (lambda self, x: F.linear(x, ones(5, 2).half()), ones(3, 2), "float32 meets float16"),
        (lambda self, x: torch.empty(1 << 46), ones(1), "more memory than there is"),
    ],
)
def test_a_hint_on_what_only_a_real_run_minds(
    do: Callable[..., Any], x: Tensor, words: str
) -> None:
    assert words in failure(Does(do), x, modes=("real",)).hint


@pytest.mark.parametrize(
    "do",
    [
        lambda self, x: x.nothing,
        lambda self, x: [][1],
        lambda self, x: x.expand(2, 7),
        lambda self, x: (x + 1).sum(dim=5),
        lambda self, x: self.nowhere(x),
    ],
)
def test_what_is_not_known_gets_no_hint(do: Callable[..., Any]) -> None:
    assert failure(Does(do), torch.ones(3, 4)).hint == ""


def test_hints_never_contradict_the_shapes() -> None:
    """A linear layer fed rightly, whose call fails for another reason, gets no shape hint."""

    def fails(self: Any, x: Tensor) -> Tensor:
        return F.linear(x, torch.ones(2, 4), torch.ones(7))

    hint = failure(Does(fails), torch.ones(3, 4)).hint
    assert not re.search("in_features|--input", hint)
