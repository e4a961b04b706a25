"""The JSON Schema: up to date, and right about what is written and what is not."""

from __future__ import annotations

import copy
import json

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from resnet_viz.cli.commands import cli
from resnet_viz.core import schema
from resnet_viz.core.report import Report
from resnet_viz.core.schema import to_json
from resnet_viz.core.schema_file import PATH, json_schema, schema_text
from tests.analysis import zoo
from tests.core.values import any_value, residual_graph

SCHEMA = json_schema()
VALIDATOR = Draft202012Validator(SCHEMA)
TYPES = sorted(schema.value_types().values(), key=lambda cls: cls.__name__)


def test_the_shipped_file_is_up_to_date():
    assert PATH.read_text(encoding="utf-8") == schema_text(), (
        "run: python -m resnet_viz.core.schema_file"
    )


def test_the_command_prints_it():
    printed = CliRunner().invoke(cli, ["schema"])
    assert printed.output == schema_text()


def test_it_is_a_schema():
    Draft202012Validator.check_schema(SCHEMA)


@pytest.mark.parametrize("cls", TYPES, ids=lambda cls: cls.__name__)
@given(data=st.data())
def test_whatever_is_written_is_valid(cls, data):
    VALIDATOR.validate(json.loads(to_json(data.draw(any_value(cls)))))


@pytest.mark.parametrize("name", ["tv:resnet18", "hf:gpt2", "tv:densenet121"])
def test_real_documents_are_valid(name):
    report = Report(graph=zoo.graph(name), structure=zoo.structure(name))
    VALIDATOR.validate(json.loads(report.to_json()))
    VALIDATOR.validate(json.loads(to_json(zoo.structure(name))))


def _document():
    return json.loads(to_json(residual_graph()))


def test_a_later_field_is_passed_over():
    document = _document()
    document["value"]["ops"][0]["added_later"] = [1]
    VALIDATOR.validate(document)


@pytest.mark.parametrize(
    ("where", "value"),
    [
        (("version",), 2),
        (("schema",), "netron"),
        (("value", "type"), "Nope"),
        (("value", "name"), 3),
        (("value", "ops", 0, "kind"), None),
        (("value", "ops", 0, "params"), 1.5),
        (("value", "ops", 0, "type"), "Edge"),
        (("value", "ops", 0, "outputs", 0, "shape", 0), "1"),
        (("value", "edges", 0, "in_slot"), "0"),
        (("value", "how", "mode"), "guessed"),
        (("value", "ops", 0, "args"), {"x": 1}),
        (("value", "ops", 0, "kwargs"), [["name"]]),
    ],
)
def test_a_wrong_value_is_found(where, value):
    document = _document()
    document["value"].setdefault("how", {"mode": "meta"})
    VALIDATOR.validate(document)
    place = document
    for key in where[:-1]:
        place = place[key]
    place[where[-1]] = value
    assert not VALIDATOR.is_valid(document)


@pytest.mark.parametrize("field", ["name", "ops", "edges", "modules", "inputs", "outputs"])
def test_a_missing_field_is_found(field):
    document = copy.deepcopy(_document())
    del document["value"][field]
    assert not VALIDATOR.is_valid(document)


def test_fields_are_described():
    op = SCHEMA["$defs"]["Op"]
    assert op["description"] == "One call of one torch function."
    assert op["properties"]["macs"]["description"].startswith("Multiply-accumulates; 0 for free")
    assert op["properties"]["inplace"]["default"] is False
    described = [
        name
        for name, cls in SCHEMA["$defs"].items()
        for field, words in cls.get("properties", {}).items()
        if field != "type" and "description" in words
    ]
    assert {"ModelGraph", "Skip", "Block", "GradientFlow", "Report", "Finding"} <= set(described)


def test_a_document_of_the_first_version_still_reads():
    # As release 0.1 wrote it: no failure, no repeats, no proof, four columns of costs.
    cost = {"type": "Cost", "key": "", "params": 1, "macs": 2, "activation_bytes": 3}
    value = {
        "type": "Structure", "skips": [], "blocks": [], "stages": [],
        "costs": {"total": cost, "ops": [cost], "modules": [], "blocks": [], "stages": []},
    }  # fmt: skip
    document = {"schema": "resnet-viz", "version": 1, "value": value}
    VALIDATOR.validate(document)
    again = schema.from_json(json.dumps(document))
    assert again.repeats == ()
    assert again.costs.total.saved_bytes is None
