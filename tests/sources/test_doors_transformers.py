"""``hf:``: models from configs on disk; code that comes with them only where it is trusted."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

import resnet_viz as rv
from resnet_viz.sources import hugging_face_models
from resnet_viz.sources.loading import ModelSpec, load
from resnet_viz.study import Study, analyse, load_model

pytest.importorskip("transformers")

LLAMA = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 100,
}
OWN = {
    "architectures": ["Own"],
    "model_type": "own-model",
    "width": 4,
    "auto_map": {"AutoConfig": "configuration_own.OwnConfig", "AutoModel": "modeling_own.Own"},
}
OWN_CODE = {
    "configuration_own.py": """
from transformers import PretrainedConfig
class OwnConfig(PretrainedConfig):
    model_type = "own-model"
    def __init__(self, width=3, **rest):
        super().__init__(**rest)
        self.width = width
""",
    "modeling_own.py": """
from pathlib import Path
from torch import nn
from transformers import PreTrainedModel
from .configuration_own import OwnConfig
Path({sprung!r}).touch()
class Own(PreTrainedModel):
    config_class = OwnConfig
    def __init__(self, config):
        super().__init__(config)
        self.inner = nn.Linear(config.width, config.width)
        self.post_init()
    def forward(self, x):
        return x + self.inner(x)
""",
}


def folder(place: Path, config: dict[str, Any]) -> str:
    place.mkdir(exist_ok=True)
    (place / "config.json").write_text(json.dumps(config))
    return f"hf:{place}"


def test_a_folder_and_a_file_give_the_model_of_its_config(tmp_path: Path) -> None:
    text = folder(tmp_path / "tiny", LLAMA)

    loaded = rv.load(text)

    assert type(loaded.model).__name__ == "LlamaForCausalLM"
    assert loaded.name == "tiny"
    assert loaded.weights_note == "random"
    assert all(p.device.type == "cpu" for p in loaded.model.parameters())
    assert [k.kind for k in rv.annotate(rv.trace(text)).skips] == ["identity"] * 4
    fewer = load(ModelSpec(text=f"{text}/config.json", args=(("num_hidden_layers", 1),)))
    assert fewer.name == "tiny"
    assert len(fewer.model.model.layers) == 1  # type: ignore[union-attr, arg-type]


def test_without_architectures_it_is_the_bare_model(tmp_path: Path) -> None:
    bare = {key: value for key, value in LLAMA.items() if key != "architectures"}

    assert type(rv.load(folder(tmp_path, bare)).model).__name__ == "LlamaModel"
    # A name of the library that is no model must not be called.
    tricky = {**LLAMA, "architectures": ["pipeline"]}
    assert type(rv.load(folder(tmp_path, tricky)).model).__name__ == "LlamaModel"


def test_what_measures_nothing_takes_no_memory(tmp_path: Path) -> None:
    text = folder(tmp_path, {**LLAMA, "hidden_size": 8192, "intermediate_size": 2**16})

    loaded = load_model(Study(model=text, sections=()))
    report = analyse(Study(model=text, sections=()))

    assert {p.device.type for p in loaded.model.parameters()} == {"meta"}
    assert report.graph.total_params == sum(p.numel() for p in loaded.model.parameters())
    assert report.graph.total_params > 3e9


def test_a_forward_that_needs_values_gets_them_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch
    from torch import nn

    class Chooses(nn.Linear):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return super().forward(x) if self.weight.sum() > -1e9 else x

    monkeypatch.setattr(hugging_face_models, "_builder", lambda *_: lambda _config: Chooses(3, 3))
    text = folder(tmp_path, LLAMA)

    graph = rv.trace(text, input_size=(1, 3))

    assert graph.how.mode == "real"
    with pytest.raises(rv.TraceError):
        analyse(Study(model=text, sections=(), device="meta", inputs=()))


def test_own_code_runs_only_where_it_is_trusted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers import dynamic_module_utils

    monkeypatch.setattr(dynamic_module_utils, "HF_MODULES_CACHE", str(tmp_path / "modules"))
    monkeypatch.setattr(sys, "path", list(sys.path))
    sprung = tmp_path / "sprung"
    text = folder(tmp_path / "own", OWN)
    for name, code in OWN_CODE.items():
        (tmp_path / "own" / name).write_text(code.replace("{sprung!r}", repr(str(sprung))))

    with pytest.raises(rv.UserError, match=r"modeling_own\.py.*--trust-remote-code") as refused:
        rv.load(text)
    assert "\n" not in str(refused.value)
    assert not sprung.exists()

    loaded = rv.load(text, trust_remote_code=True, args={"width": 6})
    assert sprung.exists()
    assert loaded.model.inner.weight.shape == (6, 6)
    assert rv.trace(loaded.model, input_size=(1, 6)).total_params == 42


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"hidden_size": 3}, "must name a model_type"),
        ({"model_type": "lama"}, "unknown model_type 'lama'.*llama"),
        ({**LLAMA, "num_attention_heads": 5}, "is refused: "),
        ({**LLAMA, "hidden_act": "no such thing"}, "could not be built: "),
        ({"model_type": ["llama"]}, "must name a model_type"),
        ({**LLAMA, "hidden_size": 2**20, "intermediate_size": 2**22}, "this machine has"),
    ],
)
def test_configs_that_build_nothing_are_one_line(
    config: dict[str, Any], words: str, tmp_path: Path
) -> None:
    with pytest.raises(rv.UserError, match=words) as refused:
        rv.load(folder(tmp_path, config))
    assert "\n" not in str(refused.value)


def test_places_that_hold_no_config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hugging_face_models, "_reaches_hub", lambda: False)
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "config.json").write_text("{")
    for place, words in (
        ("", "needs a folder"),
        (f"{tmp_path}/none", "does not exist"),
        (str(tmp_path), "no config.json in"),
        (f"{tmp_path}/broken", "no config there"),
        ("nobody/nothing-of-that-name", "no network"),
        ("../x y", "does not exist"),
    ):
        with pytest.raises(rv.UserError, match=words) as refused:
            rv.load(f"hf:{place}")
        assert "\n" not in str(refused.value)


def test_unknown_entries_and_a_missing_library(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = folder(tmp_path, LLAMA)
    with pytest.raises(rv.UserError, match="num_hidden_layers"):
        rv.load(text, args={"num_hiden_layers": 3})
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(rv.UserError, match="pip install transformers"):
        rv.load(text)
