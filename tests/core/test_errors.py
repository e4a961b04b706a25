"""Errors: the exit code each ends in, and the one line a person reads."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resnet_viz.core.errors import (
    ModelError,
    ResnetVizError,
    TraceError,
    UserError,
    listed,
    one_line,
)
from tests.core.values import residual_graph


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (UserError("x"), 2),
        (ModelError("x"), 3),
        (TraceError("x"), 2),
        (TraceError("x", input_was_given=False), 3),
    ],
)
def test_exit_codes(error, code):
    assert isinstance(error, ResnetVizError)
    assert error.exit_code == code


def test_a_trace_error_brings_what_ran():
    graph = residual_graph()
    error = TraceError("no", graph=graph, op=graph.ops[0].id, module="block.conv")
    assert error.graph is graph
    assert error.op == "block.conv/conv2d#0"
    assert error.module == "block.conv"
    assert str(error) == "no"


@given(st.text(), st.integers(1, 400))
def test_one_line_is_one_line(message, limit):
    line = one_line(ValueError(message), limit)
    assert len(line.splitlines()) == 1
    assert line.isprintable()
    assert line.startswith("ValueError")
    assert len(line) <= len("ValueError: …") + limit


def test_one_line_of_an_empty_message_is_the_type():
    assert one_line(KeyboardInterrupt()) == "KeyboardInterrupt"


def test_listed():
    assert listed(["a", "b"]) == "a, b"
    assert listed(range(10), limit=3) == "0, 1, 2 and 7 more"
    assert listed([]) == ""
