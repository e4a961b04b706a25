"""JSON: what was written is read back equal, and anything else is refused in one line."""

from __future__ import annotations

import base64
import dataclasses
import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resnet_viz.core import schema
from resnet_viz.core.errors import UserError
from resnet_viz.core.gradient_flow import GradientStats
from resnet_viz.core.graph import How, ModelGraph
from resnet_viz.core.pictures import Heatmap
from resnet_viz.core.report import Provenance, Report
from resnet_viz.core.schema import from_json, to_json
from tests.core.values import any_value, graphs, residual_graph

TYPES = sorted(schema._TYPES.values(), key=lambda cls: cls.__name__)


@pytest.mark.parametrize("cls", TYPES, ids=lambda cls: cls.__name__)
@given(data=st.data())
def test_every_value_survives_the_round_trip(cls, data):
    value = data.draw(any_value(cls))
    again = from_json(to_json(value))
    assert type(again) is cls
    assert again == value


@given(graphs())
def test_what_equality_leaves_out_survives_too(graph):
    again = from_json(to_json(graph))
    assert again.how == graph.how
    assert again.warnings == graph.warnings


@given(any_value(Report))
def test_equal_values_give_equal_text(report):
    assert to_json(report) == to_json(from_json(to_json(report)))


def test_the_types_are_those_of_the_contract():
    names = {cls.__name__ for cls in TYPES}
    assert {"ModelGraph", "Structure", "GradientFlow", "Attributions", "Report"} <= names
    assert not any(name.startswith("_") for name in names)


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf, 5e-324, 1e308, -0.0])
def test_numbers_json_has_no_word_for(number):
    stats = GradientStats(numel=1, l2=number, rms=1.0, low=0.0, high=0.0)
    text = to_json(stats)
    json.loads(text, parse_constant=pytest.fail)
    again = from_json(text).l2
    assert repr(again) == repr(number)


def test_an_integer_in_a_float_field_is_read_as_a_float():
    raw = '{"schema":"resnet-viz","version":1,"value":{"type":"Bar","label":"x","value":3}}'
    assert isinstance(from_json(raw).value, float)


def test_bytes_travel_as_base64():
    heatmap = Heatmap(width=2, height=1, low=0.0, high=1.0, data=b"\x00\xff")
    raw = json.loads(to_json(heatmap))["value"]["data"]
    assert base64.b64decode(raw["base64"]) == b"\x00\xff"


def test_the_document_says_what_it_is():
    document = json.loads(to_json(residual_graph()))
    assert document["schema"] == "resnet-viz"
    assert document["version"] == schema.VERSION
    assert document["value"]["type"] == "ModelGraph"


def test_methods_write_the_same_text():
    graph = residual_graph()
    assert graph.to_json() == to_json(graph)


def test_names_stay_readable():
    assert "شبکه" in to_json(dataclasses.replace(residual_graph(), name="شبکه"))


def test_a_name_that_is_no_utf8_can_still_be_written():
    # os.fsdecode gives lone surrogates for such file names.
    graph = dataclasses.replace(residual_graph(), name="net\udcff.py")
    text = to_json(graph)
    text.encode("utf-8")
    assert from_json(text) == graph


def test_a_field_this_release_does_not_know_is_passed_over():
    document = json.loads(to_json(How(mode="meta", why="fast")))
    document["value"]["added_later"] = 1
    assert from_json(json.dumps(document)) == How(mode="meta", why="fast")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("no json", "not a resnet-viz JSON document"),
        ("[]", "not a resnet-viz JSON document"),
        ("{}", "not a resnet-viz JSON document"),
        ('{"schema": "resnet-viz", "version": "new"}', "not a resnet-viz JSON document"),
        ('{"schema": "resnet-viz", "version": 1}', "not a resnet-viz JSON document"),
        ('{"schema": "resnet-viz", "version": 1, "value": 3}', "not a resnet-viz JSON document"),
        (
            '{"schema": "resnet-viz", "version": 1, "value": {"type": "Nope"}}',
            "not a resnet-viz JSON document",
        ),
        (
            '{"schema": "resnet-viz", "version": 1, "value": {"type": "Cost"}}',
            "not a resnet-viz JSON document",
        ),
        ('{"schema": "resnet-viz", "version": 99, "value": {}}', "install a newer resnet-viz"),
        ('{"schema": "netron", "version": 1, "value": {}}', "schema netron"),
    ],
)
def test_anything_else_is_refused_in_one_line(text, message):
    with pytest.raises(UserError, match=message) as caught:
        from_json(text)
    assert "\n" not in str(caught.value)


def test_a_graph_that_breaks_its_laws_is_refused():
    document = json.loads(to_json(residual_graph()))
    document["value"]["edges"][0]["dst"] = "gone#0"
    with pytest.raises(UserError, match=r"gone#0"):
        from_json(json.dumps(document))


def test_a_foreign_value_is_no_core_value():
    @dataclasses.dataclass
    class Foreign:
        thing: object = None

    for value in (3, None, "text", Foreign(thing=1)):
        with pytest.raises(TypeError, match=r"not a (int|NoneType|str|Foreign)"):
            to_json(value)
    with pytest.raises(TypeError, match="set has no place in a core value"):
        to_json(dataclasses.replace(residual_graph(), name={1}))


def test_old_documents_are_migrated_step_by_step(monkeypatch):
    def rename(document):
        value = dict(document["value"])
        value["name"] = value.pop("title")
        return document | {"version": document["version"] + 1, "value": value}

    monkeypatch.setattr(schema, "VERSION", 2)
    monkeypatch.setitem(schema._MIGRATIONS, 1, rename)
    document = json.loads(to_json(residual_graph())) | {"version": 1}
    document["value"]["title"] = document["value"].pop("name")
    again = from_json(json.dumps(document))
    assert isinstance(again, ModelGraph)
    assert again == residual_graph()


def test_provenance_is_part_of_the_report():
    assert from_json(to_json(Provenance(model="resnet50", seed=0))).seed == 0
