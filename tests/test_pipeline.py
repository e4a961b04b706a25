"""The main job end to end, on models of every kind, from Python."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

import resnet_viz as rv


def mlp() -> nn.Module:
    return nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 3))


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(5, 8, batch_first=True)
        self.head = nn.Linear(8, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out, _ = self.lstm(x)
        return self.head(out[:, -1])


def bert() -> nn.Module:
    from transformers import BertConfig, BertForSequenceClassification

    config = BertConfig(
        vocab_size=50,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=32,
    )
    return BertForSequenceClassification(config)


def grey_cnn() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4)
    )


class Segmenter(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.down = nn.Conv2d(3, 8, 3, stride=2, padding=1)
        self.up = nn.ConvTranspose2d(8, 8, 2, stride=2)
        self.head = nn.Conv2d(8 + 3, 5, 1)

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"out": self.head(torch.cat([x, self.up(torch.relu(self.down(x)))], 1))}


class Counter(nn.Module):
    """Nothing in it can be differentiated."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (x > 0).sum()


MODELS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...] | None]] = {
    "mlp": (mlp, None),
    "lstm": (Recurrent, None),
    "bert": (bert, None),
    "1-channel cnn": (grey_cnn, None),
    "segmenter": (Segmenter, (1, 3, 32, 32)),
}


@pytest.mark.parametrize("name", MODELS)
def test_every_kind_of_model_gets_a_whole_report(name: str) -> None:
    make, size = MODELS[name]
    torch.manual_seed(0)
    report = rv.report(make(), input_size=size, n_steps=4, batch_size=2, name=name)
    assert report.gradient_flow is not None
    assert report.gradient_flow.calls
    assert report.attributions is not None
    assert report.attributions.maps
    for found in report.attributions.maps:
        assert (found.heatmap is not None) != bool(found.bars)
    page = rv.render(report, "html").decode()
    assert "default-src" in page
    assert rv.from_json(report.to_json()) == report


def test_a_section_that_cannot_apply_says_why_and_the_report_is_made() -> None:
    report = rv.report(Counter(), input_size=(1, 4))
    assert {missing.section for missing in report.missing} == {"gradient flow", "attributions"}
    assert all(missing.reason for missing in report.missing)
    page = rv.render(report, "html").decode()
    for missing in report.missing:
        assert missing.reason.split(":")[0] in page


def test_what_is_no_report_and_no_graph_is_not_drawn() -> None:
    structure = rv.annotate(rv.trace(mlp()))
    with pytest.raises(TypeError, match="not Structure"):
        rv.render(structure)  # type: ignore[arg-type]


def test_swapped_arguments_are_named() -> None:
    model = mlp()
    with pytest.raises(TypeError, match=r"rv\.trace\(model\) makes it, not Sequential"):
        rv.annotate(model)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="not Sequential"):
        rv.verify(model, rv.trace(model))  # type: ignore[arg-type]


def test_lesions_of_any_classifier_leave_it_as_it_was(tmp_path: Path) -> None:
    model = rv.build("resnet20", widths=(4, 8, 16)).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    batches = [(torch.randn(4, 3, 16, 16), torch.randint(10, (4,))) for _ in range(2)]
    study = rv.lesion_study(model, iter(batches), counts=(2,), draws=1, data_name="noise")
    assert (study.samples, study.classes, study.data) == (8, 10, "noise")
    assert len(study.single) == len(study.blocks) == 9
    assert len(study.several) == 1
    assert study.model == "ResNet"
    assert model.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert rv.from_json(study.to_json()) == study
    assert len(study.to_records()) == len(study.lesions)
    assert study.save(tmp_path / "lesions.svg").read_bytes().startswith(b"<svg")


@pytest.mark.parametrize("data", [None, (), [], 3, torch.zeros(2, 3, 8, 8), [torch.zeros(2)]])
def test_lesions_need_answers(data: object) -> None:
    with pytest.raises(rv.UserError, match=r"give \(inputs, targets\)"):
        rv.lesion_study("resnet20", data)


def test_asked_for_alone_it_is_an_error() -> None:
    with pytest.raises(rv.UserError):
        rv.gradient_flow(Counter(), input_size=(1, 4))


def test_data_and_loss_of_ones_own_are_named() -> None:
    x, y = torch.randn(4, 6), torch.tensor([0, 1, 2, 0])

    def focal(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        chosen = outputs.softmax(1).gather(1, targets[:, None])
        return ((1 - chosen) ** 2 * -chosen.log()).mean()

    torch.manual_seed(0)
    model = mlp()
    flow = rv.gradient_flow(model, (x, y), focal)
    assert flow.loss.name == "focal"
    assert flow.loss.value == pytest.approx(focal(model(x), y).item())
    assert flow.batch_size == 4
    assert rv.gradient_flow(model, iter([(x, y), (x, y)]), focal) == flow


def test_a_loader_that_shuffles_is_seeded_and_leaves_the_generators_alone() -> None:
    x = torch.randn(32, 6, generator=torch.Generator().manual_seed(0))
    data = torch.utils.data.TensorDataset(x, torch.arange(32) % 3)
    loader = torch.utils.data.DataLoader(data, batch_size=4, shuffle=True)
    model = mlp()
    state = torch.get_rng_state()
    flows = [rv.gradient_flow(model, loader, seed=seed) for seed in (1, 1, 2)]
    assert torch.equal(torch.get_rng_state(), state)
    assert flows[0] == flows[1] != flows[2]


@pytest.mark.parametrize("data", [[], 3, [torch.zeros(2, 6)], (torch.zeros(2, 6),)])
def test_data_that_is_no_batch_is_refused(data: object) -> None:
    with pytest.raises(rv.UserError, match="pair"):
        rv.gradient_flow(mlp(), data)


def test_thresholds_are_the_users_to_set() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(*[nn.Sequential(nn.Linear(8, 8), nn.ReLU()) for _ in range(8)])
    model.append(nn.Linear(8, 3))
    assert not rv.gradient_flow(model).findings
    strict = rv.Thresholds(depth_factor=1.01, depth_range=1.1)
    found = rv.gradient_flow(model, thresholds=strict).findings
    assert {f.what for f in found} & {"vanishing gradient", "exploding gradient"}


def test_weights_that_a_file_may_load_itself_are_not_called_random(tmp_path: Path) -> None:
    file = tmp_path / "net.py"
    file.write_text("from torch import nn\ndef make():\n    return nn.Linear(3, 2)\n")
    notes = []
    for model in (f"{file}:make", "resnet20"):
        report = rv.report(model, sections=("attributions",), methods=("saliency",))
        assert report.attributions is not None
        notes.append(report.attributions.note)
        assert report.provenance.model.startswith(model)
    assert "random unless" in notes[0]
    assert notes[1].startswith("The weights are random: ")


def test_the_mode_is_the_models_own_unless_said() -> None:
    model = mlp().eval()
    assert rv.gradient_flow(model).mode == "eval"
    assert rv.gradient_flow(model, mode="train").mode == "train"
    assert not model.training


def test_flow_answers_to_op_parameter_and_module() -> None:
    torch.manual_seed(0)
    flow = rv.gradient_flow(rv.build("resnet20"), batch_size=2)
    call = flow["layer1.0/add#0"]
    assert call == next(c.stats for c in flow.calls if c.op == "layer1.0/add#0")
    assert flow["layer1.0.conv1.weight"].numel == 16 * 16 * 9
    inside = [c.stats for c in flow.calls if c.op.startswith(("layer1.", "layer1/"))]
    assert flow["layer1"].l2 == pytest.approx(sum(s.l2**2 for s in inside) ** 0.5)
    with pytest.raises(KeyError):
        flow["layer9"]


def test_a_model_by_name_or_by_value_gives_the_same_graph() -> None:
    assert rv.trace("resnet20") == rv.trace(rv.build("resnet20").eval(), name="resnet20", mode=None)


def test_the_report_on_networkx_carries_what_the_analysis_found() -> None:
    report = rv.report(rv.build("resnet20"), sections=("gradient flow",), batch_size=2)
    network = rv.to_networkx(report)
    for skip in report.structure.skips:
        marked = [
            (src, dst, data)
            for src, dst, data in network.edges(data=True)
            if data["skip"] == skip.id
        ]
        assert {data["skip_kind"] for _, _, data in marked} == {skip.kind}
        assert any(src == skip.fork for src, _, _ in marked)
        assert any(dst == skip.join for _, dst, _ in marked)
        flow = report.gradient_flow
        assert flow is not None
        first = next(data for src, _, data in marked if src == skip.fork)
        assert first["share"] == pytest.approx(flow.share_of(skip))
    for skip in report.structure.skips:
        # At a join one operand is the shortcut, the other the branch.
        into = [data["skip"] for *_, data in network.in_edges(skip.join, data=True)]
        assert sorted(into) == ["", skip.id]
    blocks = {data["block"] for _, data in network.nodes(data=True) if data["block"]}
    assert blocks == {block.skip.join for block in report.structure.blocks}


def test_a_model_that_raises_only_in_train_mode_keeps_its_other_sections() -> None:
    class NeedsTargets(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = nn.Linear(4, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            if self.training:
                raise ValueError("targets should not be None")
            return self.head(x)

    report = rv.report(NeedsTargets(), n_steps=2)
    assert [missing.section for missing in report.missing] == ["gradient flow"]
    assert "targets should not be None" in report.missing[0].reason
    assert report.attributions is not None
    with pytest.raises(rv.ModelError, match="targets should not be None"):
        rv.gradient_flow(NeedsTargets())
