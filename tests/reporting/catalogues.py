"""Brings the catalogues up to date with the code: ``python -m tests.reporting.catalogues``.

Finds every template of ``say``, ``say_n`` and ``count`` in Python and Jinja and of ``RV.say`` in
the scripts, writes ``resnet_viz.pot``, merges it into each language's ``.po`` and compiles the
``.mo``. What is not translated yet is listed, and makes the exit code 1. Needs Babel and jinja2.
"""

from __future__ import annotations

import ast
import io
import re
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from babel.messages.catalog import Catalog, Message
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po, write_po
from jinja2 import Environment, nodes

from resnet_viz.reporting.language import spoken_in

ROOT = Path(__file__).resolve().parents[2]
LOCALE = ROOT / "templates" / "locale"

DOMAIN = "resnet_viz"
_ALWAYS = datetime(2026, 1, 1, tzinfo=UTC)
OWN = ("message.py", "units.py")
SHOWN = ("core", "analysis", "measuring", "reporting")
"""Rooms whose counts stand in reports; elsewhere they are part of errors, which are English."""
PLURALS = {"fa": "nplurals=2; plural=(n > 1);"}

Key = str | tuple[str, str]
"""A template, or two of them: of one, and of many."""


class NotLiteral(Exception):  # noqa: N818
    """A template that no catalogue can have, because it is not written out."""


def extracted() -> dict[Key, list[str]]:
    """Every template, with the files that it is in, both in a stable order."""
    found: dict[Key, set[str]] = {}
    for path, keys in (*_python(), *_templates(), *_scripts()):
        for key in keys:
            found.setdefault(key, set()).add(path.relative_to(ROOT).as_posix())
    # gettext finds a text of its own under the first of two forms, too.
    for one, _ in [key for key in found if isinstance(key, tuple)]:
        found.pop(one, None)
    return {key: sorted(found[key]) for key in sorted(found, key=_first)}


def _first(key: Key) -> str:
    return key if isinstance(key, str) else key[0]


def _python() -> Iterator[tuple[Path, list[Key]]]:
    for path in sorted((ROOT / "resnet_viz").rglob("*.py")):
        text = path.read_text("utf-8")
        if re.search(r"\b(say|say_n|count)\(", text) and path.name not in OWN:
            calls = (n for n in ast.walk(ast.parse(text)) if isinstance(n, ast.Call))
            yield path, [key for call in calls for key in _called(call, path)]


def _called(call: ast.Call, path: Path) -> Iterator[Key]:
    name = call.func.id if isinstance(call.func, ast.Name) else ""
    texts = [_literals(argument) for argument in call.args]
    here = f"{path.name}:{call.lineno}"
    if name == "say":
        if len(texts) != 1 or texts[0] is None:
            raise NotLiteral(f"{here}: say() takes one template that is written out")
        yield from texts[0]
    elif name == "say_n":
        if len(texts) != 3 or not texts[0] or not texts[1]:
            raise NotLiteral(f"{here}: say_n() takes two templates that are written out")
        yield texts[0][0], texts[1][0]
    elif name == "count" and len(texts) > 1 and path.parts[len(ROOT.parts) + 1] in SHOWN:
        if texts[1] is None:
            raise NotLiteral(f"{here}: count() takes a noun that is written out")
        many = texts[2] if len(texts) > 2 else None
        for noun in texts[1]:
            yield f"{{n}} {noun}", f"{{n}} {many[0] if many else noun + 's'}"


def _literals(node: ast.expr) -> list[str] | None:
    """The text, or both of a choice; ``None`` where it is computed."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return [node.value]
    if isinstance(node, ast.IfExp):
        body, other = _literals(node.body), _literals(node.orelse)
        return body + other if body and other else None
    return None


def _templates() -> Iterator[tuple[Path, list[Key]]]:
    environment = Environment(autoescape=True)
    for path in sorted(LOCALE.parent.rglob("*.j2")):
        tree = environment.parse(path.read_text("utf-8"))
        keys: list[Key] = []
        for call in tree.find_all(nodes.Call):
            name = call.node.name if isinstance(call.node, nodes.Name) else ""
            given = [a.value if isinstance(a, nodes.Const) else None for a in call.args]
            if name == "say":
                if len(given) != 1 or given[0] is None:
                    raise NotLiteral(f"{path.name}:{call.lineno}: say() takes a literal")
                keys.append(given[0])
            elif name == "say_n":
                if None in given[:2]:
                    raise NotLiteral(f"{path.name}:{call.lineno}: say_n() takes two literals")
                keys.append((given[0], given[1]))
        yield path, keys


def _scripts() -> Iterator[tuple[Path, list[Key]]]:
    for path in sorted((LOCALE.parent / "assets").glob("*.js")):
        text = path.read_text("utf-8")
        keys = spoken_in(text)
        lines = [line for line in text.splitlines() if not line.lstrip().startswith("//")]
        calls = re.findall(r"(?<![\w.])(?:RV\.)?say\((?!template)", "\n".join(lines))
        if len(calls) > len(keys):
            raise NotLiteral(f"{path.name}: RV.say() takes one template in single quotes")
        yield path, list(keys)


def template_catalogue() -> Catalog:
    """What there is to translate."""
    found = _catalogue(None)
    for key, places in extracted().items():
        _add(found, key, places, ("", "") if isinstance(key, tuple) else "")
    return found


def translated(code: str) -> tuple[Catalog, list[Key]]:
    """The catalogue of a language with what is said today, and what it lacks."""
    path = po_file(code)
    with path.open("rb") as file:
        before = read_po(file, code)
    known: dict[Key, Message] = {m.id: m for m in before.obsolete.values() if m.id}
    known |= {m.id: m for m in before if m.id}
    found, lacking = _catalogue(code), []
    found.header_comment = before.header_comment
    for key, places in extracted().items():
        empty: str | tuple[str, ...] = ("", "") if isinstance(key, tuple) else ""
        string = known[key].string if key in known else empty
        if not string or (isinstance(string, tuple) and not all(string)):
            lacking.append(key)
        _add(found, key, places, string)
    return found, lacking


def _add(catalogue: Catalog, key: Key, places: list[str], string: str | tuple[str, ...]) -> None:
    message = catalogue.add(key, string, locations=[(place, 0) for place in places])
    # Babel takes "1 % of" for a format of Python's; ours have braces.
    message.flags.discard("python-format")


def _catalogue(code: str | None) -> Catalog:
    found = Catalog(code, domain=DOMAIN, project="resnet-viz", fuzzy=False, charset="utf-8")
    if code in PLURALS:
        found._num_plurals, found._plural_expr = 2, "(n > 1)"
    return found


def po_file(code: str) -> Path:
    """Where the translations of a language are."""
    return LOCALE / code / "LC_MESSAGES" / f"{DOMAIN}.po"


def po_bytes(catalogue: Catalog) -> bytes:
    """The catalogue as text: the same bytes at any time of day."""
    buffer = io.BytesIO()
    write_po(buffer, catalogue, width=100, include_lineno=False)
    dated = re.compile(rb'^"(POT-Creation-Date|PO-Revision-Date|Generated-By|Last-Translator|'
                       rb'Report-Msgid-Bugs-To|Language-Team): .*\n', re.M)  # fmt: skip
    return dated.sub(b"", buffer.getvalue())


def mo_bytes(catalogue: Catalog) -> bytes:
    """The catalogue as gettext reads it, without what is not translated."""
    buffer = io.BytesIO()
    same = read_po(io.BytesIO(po_bytes(catalogue)), catalogue.locale)
    same.creation_date = same.revision_date = _ALWAYS
    write_mo(buffer, same)
    return buffer.getvalue()


def main() -> int:
    """Writes all files; returns how a shell takes it."""
    (LOCALE / f"{DOMAIN}.pot").write_bytes(po_bytes(template_catalogue()))
    lacks = False
    for code in PLURALS:
        catalogue, lacking = translated(code)
        po_file(code).write_bytes(po_bytes(catalogue))
        po_file(code).with_suffix(".mo").write_bytes(mo_bytes(catalogue))
        sys.stdout.write(f"{code}: {len(catalogue):,} messages, {len(lacking):,} to translate\n")
        for key in lacking:
            sys.stdout.write(f"  {key!r}\n")
        lacks = lacks or bool(lacking)
    return int(lacks)


if __name__ == "__main__":
    sys.exit(main())
