"""Reports in other languages: all is said, catalogues are whole, names keep their order."""

from __future__ import annotations

import gettext
import importlib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import nn

import resnet_viz as rv
from resnet_viz.core.message import join, say, say_n, sentences
from resnet_viz.core.report import RenderOptions, Report
from resnet_viz.reporting import language as languages
from resnet_viz.reporting.arabic import joined_width
from resnet_viz.reporting.fonts import text_width, wrap
from resnet_viz.reporting.language import isolated, spoken
from resnet_viz.reporting.page.data import read_page
from resnet_viz.reporting.registry import resolve_renderer
from resnet_viz.reporting.remarks import RenderWarning
from tests.reporting import catalogues, experiments_synthetic, leaking

FSI, PDI = "\u2068", "\u2069"
ASSETS = Path(rv.__file__).parent / "templates" / "assets"


class Block(nn.Module):
    """Two convolutions and a shortcut."""

    def __init__(self, width: int, stride: int = 1) -> None:
        super().__init__()
        half = width // stride
        self.conv1 = nn.Conv2d(half, width, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.down = nn.Conv2d(half, width, 1, stride) if stride > 1 else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = torch.relu(self.bn1(self.conv1(x)))
        return torch.relu(self.bn2(self.conv2(y)) + self.down(x))


def net() -> nn.Module:
    """Three blocks, an identity and projections among them, on a stem and under a head."""
    torch.manual_seed(0)
    blocks = [Block(8), Block(16, 2), Block(32, 2)]
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 5)]
    return nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), *blocks, *head)


@pytest.fixture(scope="module")
def report() -> Report:
    """Everything that a report can measure, of a small net."""
    return rv.report(
        net(),
        input_size=(1, 3, 16, 16),
        name="small",
        batch_size=2,
        sections=("gradient flow", "path gradients", "signal propagation", "attributions"),
        times=True,
        verify=True,
        optimizer="sgd",
        path_draws=2,
        methods=("saliency", "integrated_gradients", "layer_grad_cam"),
        n_steps=20,
        thresholds=rv.Thresholds(update_high=1e-9, skip_to_branch=1e9),
        device="cpu",
    )


@pytest.fixture
def marked(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A language that says everything in brackets."""
    known = languages.LANGUAGES | {"zz": languages.Language("zz", "Marked", "ltr")}
    monkeypatch.setattr(languages, "LANGUAGES", known)
    monkeypatch.setattr(languages, "catalogue", lambda code: leaking.Marked())
    return "zz"


def render(report: Report, form: str, lang: str) -> bytes:
    return resolve_renderer(form)(report, RenderOptions(lang=lang))


def test_nothing_a_reader_sees_is_left_unsaid(report: Report, marked: str) -> None:
    page = render(report, "html", marked)
    data = leaking.data_of(report)
    assert leaking.leaks(page.decode(), data) == []
    assert leaking.leaks_of_json(read_page(page), data) == []
    assert leaking.leaks(render(report, "svg", marked).decode(), data) == []


def test_english_is_what_the_templates_say(report: Report) -> None:
    assert b"\xe2\x9f\xa6" not in render(report, "html", "en")
    assert render(report, "svg", "en") == render(report, "svg", "en")


def test_scripts_say_what_they_show() -> None:
    """Literals that reach a text, a label or a title without RV.say, by a look at the source."""
    shown = re.compile(
        r"(?:textContent|title|placeholder|innerText)\s*=\s*'([^']*)'"
        r"|setAttribute\('(?:aria-label|title|placeholder)',\s*'([^']*)'"
        r"|(?:tip|button)\('([^']*)'"
        r"|\btext\([^()']*'[^']*'[^()']*,\s*'([^']* [^']*)'"
    )
    found = []
    for path in sorted(ASSETS.glob("*.js")):
        for n, line in enumerate(path.read_text("utf-8").splitlines(), start=1):
            for hit in shown.finditer(line):
                text = next(group for group in hit.groups() if group is not None)
                if leaking.is_word(text) and not line.lstrip().startswith("//"):
                    found.append(f"{path.name}:{n}: {text}")
    # The pages of experiments have no data, and so no words, in them.
    assert [hit for hit in found if not hit.startswith(("theme.js", "experiment.js"))] == []


def test_catalogues_are_what_the_code_says() -> None:
    template = catalogues.LOCALE / f"{catalogues.DOMAIN}.pot"
    how = "run python -m tests.reporting.catalogues"
    assert template.read_bytes() == catalogues.po_bytes(catalogues.template_catalogue()), how
    for code in catalogues.PLURALS:
        found, lacking = catalogues.translated(code)
        assert lacking == [], how
        assert catalogues.po_file(code).read_bytes() == catalogues.po_bytes(found), how
        compiled = catalogues.po_file(code).with_suffix(".mo").read_bytes()
        assert compiled == catalogues.mo_bytes(found), how


@pytest.mark.parametrize("code", list(catalogues.PLURALS))
def test_translations_have_the_places_of_their_templates(code: str) -> None:
    places = re.compile(r"\{(\w+)\}")
    found, _ = catalogues.translated(code)
    for message in (m for m in found if m.id and any(m.string)):
        ids = message.id if isinstance(message.id, tuple) else (message.id,)
        strings = message.string if isinstance(message.string, tuple) else (message.string,)
        assert len(ids) == len(strings)
        assert not message.fuzzy
        needed, allowed = set(places.findall(ids[0])), set(places.findall(ids[-1]))
        for string in strings:
            assert needed <= set(places.findall(string)) <= allowed, message.id
            assert not re.search("[\u200e\u200f\u202a-\u202e\u2066-\u2069]", string), message.id


def test_the_catalogue_of_persian_is_in_the_package() -> None:
    folder = Path(rv.__file__).parent / "templates" / "locale"
    found = gettext.translation(catalogues.DOMAIN, folder, ["fa"])
    assert found.gettext("Findings") == "یافته‌ها"
    assert set(languages.LANGUAGES) == {"en", *catalogues.PLURALS}


def test_only_the_words_of_a_sentence_change() -> None:
    text = say("{n} of {all} hold", n=3, all="a + b")
    with languages.speaking("fa"):
        assert spoken(text) == f"{FSI}3{PDI} از {FSI}a + b{PDI} برقرار است"
        assert spoken(join(", ", [say("Loss"), "conv1"])) == f"زیان، {FSI}conv1{PDI}"
        assert spoken(join("; ", ["a", "b"])) == f"{FSI}a{PDI}؛ {FSI}b{PDI}"
        assert spoken(say_n("{n} block", "{n} blocks", 2)) == f"{FSI}2{PDI} بلوک"
        assert spoken(sentences(say("Gradients as mean squares."), "")).endswith(".")
    assert spoken(text) == "3 of a + b hold"


def test_formulas_of_a_translation_keep_their_order() -> None:
    with languages.speaking("fa"):
        said = spoken(say("Every block is a cut of the network, so each row sums to F(x) − F(x′)."))
    assert f"{FSI}F(x) − F(x′){PDI}" in said


def test_nobody_breaks_out_of_an_isolate() -> None:
    with languages.speaking("fa"):
        said = isolated("a\u2069\u202eb\u2066")
    assert said == f"{FSI}ab{PDI}"


def test_lines_of_a_sentence_end_the_isolates_they_begin() -> None:
    with languages.speaking("fa"):
        lines = wrap(say("{names} and {n} more", names="conv1 conv2 conv3 conv4", n=7), 12, 60)
    assert len(lines) > 1
    assert all(line.count(FSI) == line.count(PDI) for line in lines)


def test_lines_of_a_dot_label_end_the_isolates_they_begin(report: Report) -> None:
    texts = re.split("[<>]", render(report, "dot", "fa").decode())
    assert sum(text.count(FSI) for text in texts) > 20
    assert [t for t in texts if t.count(FSI) != t.count(PDI)] == []


def test_why_something_was_not_measured_is_said_too() -> None:
    class Partly(nn.Module):
        """One layer of three is lost, one is frozen, and what the loss gets is times zero."""

        def __init__(self) -> None:
            super().__init__()
            self.used, self.lost, self.frozen = (nn.Linear(4, 4) for _ in range(3))
            self.frozen.requires_grad_(False)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = self.frozen(x)
            return 0 * (self.used(x) + x)

    made = rv.report(
        Partly(), input_size=(2, 4), sections=("gradient flow",), device="cpu",
        optimizer=torch.optim.SGD(nn.Linear(2, 2).parameters()),
    )  # fmt: skip
    flow = made.gradient_flow
    assert flow is not None
    reasons = [p.reason for p in flow.parameters if p.reason]
    reasons += [place.reason for place in flow.not_separable]
    missing = [note for note in flow.notes if note.startswith("Update ratios are missing")]
    assert {"frozen", "never used in the forward"} <= set(reasons)
    assert flow.not_separable
    assert missing
    with languages.speaking("fa"):
        assert [text for text in (*reasons, *missing) if spoken(text) == str(text)] == []


def test_joined_letters_are_as_wide_as_they_are_drawn() -> None:
    """Beside HarfBuzz itself, through Pillow, where Pillow has it."""
    features = importlib.import_module("PIL.features")
    if not features.check("raqm"):
        # Without a shaper: a letter in the middle is narrower than one alone.
        assert joined_width("ببب", bold=False) < 3 * joined_width("ب", bold=False)
        return
    from PIL import ImageFont

    font = ImageFont.truetype(str(ASSETS / "fonts" / "DejaVuSans-Arabic.ttf"), 2048)
    for word in ("گرادیان", "نُرم", "می‌شود", "بلوک", "اتصال", "لایهٔ", "یافته‌ها"):
        drawn = font.getlength(word, direction="rtl", language="fa")
        # Kerning and ligatures only take away.
        assert drawn <= joined_width(word, bold=False) <= 1.06 * drawn


def test_a_text_is_measured_in_the_language_it_is_drawn_in() -> None:
    with languages.speaking("fa"):
        assert text_width(say("Findings"), 12) == text_width("یافته‌ها", 12)
    assert text_width(say("Findings"), 12) == text_width("Findings", 12)


def test_what_is_not_translated_says_so_and_is_english_throughout() -> None:
    value = experiments_synthetic.identity()
    with pytest.warns(RenderWarning, match="written in English"):
        page = rv.render(value, "html", options=RenderOptions(lang="fa"))
    assert page == rv.render(value, "html")
