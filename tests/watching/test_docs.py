"""The snippets of docs/watching.md run as they stand there."""

from __future__ import annotations

import re
import sys
import types
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from resnet_viz.watching.reading import read_run
from tests.watching.loops import batches, small_net, train

DOCS = Path(__file__).resolve().parents[2] / "docs" / "watching.md"
SNIPPETS = re.findall(r"```python\n(.*?)```", DOCS.read_text("utf-8"), re.DOTALL)


def run(mark: str, **names: Any) -> dict[str, Any]:
    """What is defined after the one snippet that holds a word, at ``every=1``."""
    (snippet,) = (text for text in SNIPPETS if mark in text)
    exec(compile(snippet.replace("every=100", "every=1"), str(DOCS), "exec"), names)
    return names


def test_the_loop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    model = small_net()
    run(
        "for inputs, labels in loader", torch=torch, model=model, loader=batches(3),
        optimizer=torch.optim.SGD(model.parameters(), lr=0.1),
        criterion=functional.cross_entropy,
    )  # fmt: skip
    history = read_run("runs/demo")
    assert [step.step for step in history.steps] == [0, 1, 2]
    assert all(step.loss and step.clipped_l2 <= 1 for step in history.steps)


def test_weights_and_biases(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a stand-in that takes what a run of ``wandb`` takes."""
    logged: list[tuple[dict[str, float], int]] = []

    class Run:
        def log(self, data: dict[str, float], step: int) -> None:
            logged.append((data, step))

    monkeypatch.chdir(tmp_path)
    wandb = types.SimpleNamespace(init=lambda project: Run())
    monkeypatch.setitem(sys.modules, "wandb", wandb)
    model = small_net()
    run("wandb.init", model=model, train=train, optimizer=torch.optim.SGD(model.parameters(), 0.1))
    assert [step for _, step in logged] == [0, 1, 2]
    assert all(data["l2_norm/grad/0.weight"] > 0 for data, _ in logged)
    assert len(read_run("runs/demo").steps) == 3


def test_hugging_face_trainer(tmp_path: Path) -> None:
    """Their Trainer where accelerate is installed, else their own handler of callbacks."""
    transformers = pytest.importorskip("transformers")
    from torch.utils.data import TensorDataset

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = small_net()

        def forward(self, inputs: Tensor, labels: Tensor) -> dict[str, Tensor]:
            return {"loss": functional.cross_entropy(self.net(inputs), labels)}

    model = Net()
    if transformers.utils.is_accelerate_available():
        inputs, labels = (torch.cat(rows) for rows in zip(*batches(4), strict=True))
        args = transformers.TrainingArguments(
            output_dir=str(tmp_path), max_steps=3, per_device_train_batch_size=8,
            gradient_accumulation_steps=2, use_cpu=True, report_to=[], logging_steps=1,
            max_grad_norm=0.1, save_strategy="no", disable_tqdm=True,
        )  # fmt: skip
        trainer = transformers.Trainer(
            model=model, args=args, train_dataset=TensorDataset(inputs, labels),
            data_collator=lambda rows: {
                "inputs": torch.stack([x for x, _ in rows]),
                "labels": torch.stack([y for _, y in rows]),
            },
        )  # fmt: skip
        run("TrainerCallback", trainer=trainer)
        trainer.train()
        told = [log["grad_norm"] for log in trainer.state.log_history if "grad_norm" in log]
    else:
        from transformers.trainer_callback import CallbackHandler

        optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
        handler = CallbackHandler([], model, None, optimizer, None)
        args = types.SimpleNamespace(output_dir=str(tmp_path))
        run("TrainerCallback", trainer=handler)
        state, control = transformers.TrainerState(), transformers.TrainerControl()
        handler.on_train_begin(args, state, control)
        told = []
        data = batches(6)
        for i, (inputs, labels) in enumerate(data):
            (model(inputs, labels)["loss"] / 2).backward()
            if i % 2:
                told.append(nn.utils.clip_grad_norm_(model.parameters(), 0.1).item())
                optimizer.step()
                optimizer.zero_grad()
        handler.on_train_end(args, state, control)
    history = read_run(tmp_path / "flow")
    assert history.complete
    assert [step.l2 for step in history.steps] == pytest.approx(told, rel=1e-5)
    assert all(step.backwards == 2 for step in history.steps)
    assert all(step.clipped_l2 == pytest.approx(0.1, rel=1e-3) for step in history.steps)


def test_lightning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a stand-in that calls in Lightning's order: backward and clipping in the closure."""

    class Trainer:
        def __init__(self, callbacks: list[Any]) -> None:
            self.callbacks = callbacks

    lightning = types.SimpleNamespace(Callback=object, Trainer=Trainer)
    monkeypatch.setitem(sys.modules, "lightning", lightning)
    (callback,) = run("lightning.Callback")["trainer"].callbacks
    module = small_net()
    optimizer = torch.optim.Adam(module.parameters(), lr=0.01)
    trainer = types.SimpleNamespace(
        precision_plugin=object(), default_root_dir=tmp_path, optimizers=[optimizer]
    )
    callback.on_train_start(trainer, module)
    told = []
    for i, batch in enumerate(batches(3)):

        def closure(batch: tuple[Tensor, Tensor] = batch) -> Tensor:
            loss = functional.cross_entropy(module(batch[0]), batch[1])
            optimizer.zero_grad()
            loss.backward()
            told.append(nn.utils.clip_grad_norm_(module.parameters(), 0.1).item())
            return loss

        loss = optimizer.step(closure)
        callback.on_train_batch_end(trainer, module, {"loss": loss}, batch, i)
    callback.on_train_end(trainer, module)
    history = read_run(tmp_path / "flow")
    assert [step.l2 for step in history.steps] == pytest.approx(told, rel=1e-5)
    assert all(step.clipped_l2 == pytest.approx(0.1, rel=1e-3) for step in history.steps)
    assert all(step.loss is not None for step in history.steps)
