"""Tiny Hugging Face models of many families, from configs alone: no network, no weights."""

from __future__ import annotations

from functools import partial

from tests.gauntlet import transformers_senses, transformers_text
from tests.gauntlet.cases import Case
from tests.gauntlet.transformers_parts import Entry, build

_SHORT = ("bert with mask", "gpt2", "llama", "t5", "swin", "mamba", "mixtral", "rwkv", "beit")


def _case(family: str, name: str, entry: Entry) -> Case:
    return Case(
        name=f"transformers/{name}",
        family=family,
        model=partial(build, entry),
        inputs=entry.inputs,
        short=name in _SHORT,
    )


CASES: dict[str, Case] = {
    case.name: case
    for family, entries in (transformers_text.MODELS | transformers_senses.MODELS).items()
    for case in (_case(family, name, entry) for name, entry in entries.items())
}
