"""Formats, files and notebooks: what is found, what is written, what is left behind."""

from __future__ import annotations

import html
import os
import re
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from resnet_viz.analysis import annotate
from resnet_viz.core.errors import UserError
from resnet_viz.core.report import RenderOptions, Report
from resnet_viz.core.schema import from_json
from resnet_viz.reporting import (
    RENDERERS,
    Renderer,
    check_writable,
    known_formats,
    mimebundle,
    register,
    render,
    renderer_for,
    resolve_renderer,
    save,
)
from resnet_viz.reporting import files as files_module
from tests.reporting import synthetic

REPORT = synthetic.resnet18()


def constant(data: object) -> Renderer:
    return Renderer(
        name="test", suffixes=(".test",), media_type="text/x-test", function=lambda *_: data
    )


def failing(error: BaseException) -> Renderer:
    def function(*_: object) -> bytes:
        raise error

    return Renderer(name="test", suffixes=(), media_type="text/x-test", function=function)


def test_every_registered_renderer_says_where_it_belongs():
    for suffix, renderer in RENDERERS.items():
        assert suffix.startswith(".")
        assert suffix == suffix.lower()
        assert suffix in renderer.suffixes
        assert "/" in renderer.media_type
        assert resolve_renderer(renderer.name) is renderer
        assert resolve_renderer(suffix) is renderer
    assert set(known_formats()) == {
        "html", "svg", "png", "dot", "mmd", "json", "graphml", "txt", "pdf",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("name", "start"),
    [
        ("html", b"<!doctype html"),
        ("svg", b"<svg"),
        ("png", b"\x89PNG"),
        ("dot", b"digraph"),
        ("mmd", b"---"),
        ("json", b"{"),
        ("graphml", b"<graphml"),
        ("txt", b"resnet18"),
    ],
)
def test_every_format_renders_a_report(name, start, tmp_path):
    data = render(REPORT, name)
    assert data.lower().startswith(start.lower())
    path = save(REPORT, tmp_path / f"report{resolve_renderer(name).suffixes[0]}")
    assert path.read_bytes() == data


def test_rendering_twice_gives_the_same_bytes():
    for name in known_formats():
        if name != "pdf":  # pdf carries its time of making; dot writes it
            assert render(REPORT, name) == render(synthetic.resnet18(), name), name


def test_values_save_themselves(tmp_path):
    path = REPORT.save(tmp_path / "report.json")
    assert from_json(path.read_text("utf-8")) == REPORT


def test_suffixes_are_read_without_case():
    assert renderer_for("A.B/REPORT.SVG").name == "svg"


@pytest.mark.parametrize(
    ("path", "parts"),
    [
        ("report.htlm", ["unknown suffix '.htlm'", ".graphml", "did you mean .html"]),
        ("report.sgv", ["unknown suffix '.sgv'", "did you mean .svg"]),
        ("report", ["no suffix in 'report'", ".html"]),
    ],
)
def test_an_unknown_suffix_lists_the_known_ones(path, parts, tmp_path):
    with pytest.raises(UserError) as caught:
        save(REPORT, tmp_path / path)
    assert all(part in str(caught.value).replace(f"{tmp_path}/", "") for part in parts)
    assert not list(tmp_path.iterdir())


def test_an_unknown_format_lists_the_known_ones():
    with pytest.raises(UserError, match=r"unknown format 'htm1'.*did you mean html"):
        render(REPORT, "htm1")


def test_a_format_may_be_named_where_the_suffix_says_nothing(tmp_path):
    path = save(REPORT, tmp_path / "report.out", format="json")
    assert from_json(path.read_text("utf-8")) == REPORT


def test_a_new_renderer_is_found_by_its_suffix(tmp_path, monkeypatch):
    monkeypatch.setattr("resnet_viz.reporting.registry.RENDERERS", RENDERERS)
    monkeypatch.delitem(RENDERERS, ".test", raising=False)
    register(constant(b"mine"))
    try:
        assert save(REPORT, tmp_path / "a.test").read_bytes() == b"mine"
    finally:
        del RENDERERS[".test"]


def test_outsiders_by_module_and_by_file(tmp_path, monkeypatch):
    (tmp_path / "outsider_renderers.py").write_text(
        "from resnet_viz.reporting import Renderer\n"
        "def upper(report, options):\n"
        "    return (report.graph.name + options.title).upper().encode()\n"
        "made = Renderer(name='made', suffixes=(), media_type='text/plain', function=upper)\n"
        "number = 3\n"
    )
    monkeypatch.chdir(tmp_path)
    before = list(sys.path)
    options = RenderOptions(title="!")
    for text in (
        "outsider_renderers:upper",
        "outsider_renderers:made",
        "outsider_renderers.py:made",
    ):
        assert render(REPORT, text, options) == b"RESNET18!"
    assert sys.path == before
    with pytest.raises(UserError, match="number is a int"):
        resolve_renderer("outsider_renderers:number")
    with pytest.raises(UserError, match="has no 'gone'"):
        resolve_renderer("outsider_renderers:gone")


@pytest.mark.parametrize(
    ("content", "reason"),
    [("import nowhere_at_all", "ModuleNotFoundError"), ("(", "SyntaxError"), ("exit(3)", "3")],
)
def test_an_outsider_that_does_not_import_is_one_line(tmp_path, content, reason):
    path = tmp_path / "broken.py"
    path.write_text(content)
    with pytest.raises(UserError, match=reason) as caught:
        resolve_renderer(f"{path}:x")
    assert "\n" not in str(caught.value)
    assert "resnet_viz_renderer_broken" not in sys.modules


def test_an_outsider_that_is_not_there_is_one_line(tmp_path):
    with pytest.raises(UserError, match="cannot import"):
        resolve_renderer(f"{tmp_path}/gone.py:x")
    with pytest.raises(UserError, match="cannot import no_such_package"):
        resolve_renderer("no_such_package:x")


def test_a_renderer_must_give_bytes():
    with pytest.raises(UserError, match="gave str; it must return bytes"):
        render(REPORT, constant("text"))


@pytest.mark.parametrize("error", [KeyboardInterrupt(), RuntimeError("no"), SystemExit(3)])
def test_a_renderer_that_raises_leaves_nothing(tmp_path, error):
    old = tmp_path / "old.bin"
    old.write_bytes(b"kept")
    for path in (tmp_path / "new.bin", old):
        with pytest.raises(type(error)):
            save(REPORT, path, format=failing(error))
    assert list(tmp_path.iterdir()) == [old]
    assert old.read_bytes() == b"kept"


@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(28, "No space left on device")])
def test_an_interrupted_write_leaves_nothing(tmp_path, monkeypatch, error):
    old = tmp_path / "old.bin"
    old.write_bytes(b"kept")

    def broken(*_: object) -> None:
        assert len(list(tmp_path.iterdir())) == 2
        raise error

    monkeypatch.setattr(Path, "replace", broken)
    expected = UserError if isinstance(error, OSError) else KeyboardInterrupt
    with pytest.raises(expected):
        save(REPORT, old, format=constant(b"new"))
    assert list(tmp_path.iterdir()) == [old]
    assert old.read_bytes() == b"kept"


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("missing/report.svg", "does not exist"),
        ("file/report.svg", "is not a folder"),
        ("folder.svg", "is a folder"),
        ("x" * 300 + ".svg", "too long"),
        ("a\0b.svg", "null"),
    ],
)
def test_a_bad_place_is_refused_before_anything_is_drawn(tmp_path, path, message):
    (tmp_path / "file").write_text("")
    (tmp_path / "folder.svg").mkdir()
    before = sorted(tmp_path.iterdir())
    with pytest.raises(UserError, match=message) as caught:
        save(REPORT, tmp_path / path, format=failing(AssertionError("was drawn")))
    assert "\n" not in str(caught.value)
    assert sorted(tmp_path.iterdir()) == before


def test_a_folder_nobody_may_write_is_refused(tmp_path, monkeypatch):
    folder = tmp_path / "locked"
    folder.mkdir(mode=0o500)
    if os.geteuid() == 0:
        # To root every folder is writable: ask as the kernel answers everybody else.
        monkeypatch.setattr(files_module.os, "access", lambda p, mode: Path(p) != folder)
    with pytest.raises(UserError, match=r"locked is not writable"):
        check_writable(folder / "report.svg")


def test_what_only_the_attempt_can_tell_is_told_before_drawing():
    if not Path("/proc/self").exists():
        with pytest.raises(UserError):
            check_writable("/no_such_root/report.svg")
        return
    with pytest.raises(UserError, match="cannot write"):
        check_writable("/proc/self/report.svg")


def test_a_read_only_file_is_not_replaced(tmp_path, monkeypatch):
    path = tmp_path / "report.svg"
    path.write_bytes(b"kept")
    path.chmod(0o400)
    if os.geteuid() == 0:
        real = os.access
        monkeypatch.setattr(
            files_module.os, "access", lambda p, mode: Path(p) != path and real(p, mode)
        )
    with pytest.raises(UserError, match="read-only"):
        save(REPORT, path)
    assert path.read_bytes() == b"kept"


def test_checking_changes_nothing(tmp_path):
    path = tmp_path / "report.svg"
    assert check_writable(path) == path
    assert not list(tmp_path.iterdir())


def test_permissions_follow_the_umask_or_the_old_file(tmp_path):
    code = (
        "import os, sys; os.umask(0o027)\n"
        "from resnet_viz.reporting.files import write_atomically\n"
        "for path in sys.argv[1:]: write_atomically(path, b'x')"
    )
    (tmp_path / "old").write_text("")
    (tmp_path / "old").chmod(0o604)
    paths = [str(tmp_path / name) for name in ("new", "old")]
    subprocess.run([sys.executable, "-c", code, *paths], check=True)
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o640
    assert stat.S_IMODE((tmp_path / "old").stat().st_mode) == 0o604


def test_a_link_keeps_pointing_and_a_pipe_stays_a_pipe(tmp_path):
    (tmp_path / "real").write_bytes(b"old")
    link = tmp_path / "link"
    link.symlink_to("real")
    save(REPORT, link, format=constant(b"new"))
    assert link.is_symlink()
    assert (tmp_path / "real").read_bytes() == b"new"

    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    read: list[bytes] = []
    reader = threading.Thread(target=lambda: read.append(pipe.read_bytes()), daemon=True)
    reader.start()
    save(REPORT, pipe, format=constant(b"through"))
    reader.join(timeout=10)
    assert read == [b"through"]
    assert stat.S_ISFIFO(pipe.stat().st_mode)


def test_a_notebook_gets_a_page_in_a_frame_of_its_own():
    report = synthetic.hostile()
    bundle = mimebundle(report)
    assert set(bundle) == {"text/html", "image/svg+xml", "text/plain"}
    frame = bundle["text/html"]
    # Ours, and nothing that escaped from a name.
    assert re.findall(r"<(\w+)", frame) == ["div", "div", "img", "p", "iframe"]
    srcdoc = frame.partition('srcdoc="')[2].partition('"')[0]
    assert html.unescape(srcdoc).encode() == render(report, "html")
    assert 'sandbox="allow-scripts' in frame
    assert "same-origin" not in frame
    assert "1 skip" in bundle["text/plain"]
    assert "\n" not in bundle["text/plain"]


def test_a_bare_graph_shows_its_diagram_and_nothing_else():
    graph = REPORT.graph
    bundle = graph._repr_mimebundle_()
    assert bundle["text/plain"] == repr(graph)
    assert bundle["image/svg+xml"].count("layer") >= 8
    assert graph._mime_() == ("text/html", bundle["text/html"])
    page = html.unescape(bundle["text/html"].partition('srcdoc="')[2].partition('"')[0])
    assert 'class="framed nojs' in page
    assert 'id="flow"' not in page
    assert len(bundle["text/html"]) < len(mimebundle(REPORT)["text/html"])


def test_a_graph_saves_what_its_report_would(tmp_path):
    graph = REPORT.graph
    plain = Report(graph=graph, structure=annotate(graph))
    for suffix in (".svg", ".mmd", ".graphml"):
        written = graph.save(tmp_path / f"net{suffix}")
        assert written.read_bytes() == render(plain, suffix)


def test_jupyter_finds_the_bundle():
    bundle = REPORT._repr_mimebundle_(include=None, exclude=None)
    assert bundle["text/plain"].startswith("resnet18: 69 ops, 11.7 M params, 1.81 G MACs, 8 skips")
