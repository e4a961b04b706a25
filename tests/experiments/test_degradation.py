"""Degradation: trains as a plain loop does, repeats to the bit, and goes on where it stopped."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.nn import functional

from resnet_viz.core.errors import UserError
from resnet_viz.core.experiments.degradation import Degradation, TrainedNet, Training
from resnet_viz.core.schema import from_json, to_json
from resnet_viz.experiments.degradation import resuming
from resnet_viz.experiments.degradation import run as degradation_run
from resnet_viz.experiments.degradation.holding import held
from resnet_viz.experiments.degradation.run import run_degradation
from resnet_viz.experiments.degradation.sgd import Sgd
from resnet_viz.experiments.degradation.training import (
    NetTask,
    Setting,
    build_net,
    digest_weights,
    learning_rate,
    train_net,
)
from resnet_viz.experiments.gradient_norms import gradient_norms, weight_layers
from resnet_viz.sources.datasets.images import Images, Samples, make_images
from resnet_viz.sources.datasets.load import load_digits

ROOT = Path(__file__).resolve().parents[2]
TINY = Training(epochs=1, seeds=(0, 1), widths=(4, 4, 8), warmup_steps=5)


@pytest.fixture(scope="module")
def few() -> Images:
    """The first 192 of the digits, and 100 to test with."""
    digits = load_digits()
    parts = [
        Samples(pixels=samples.pixels[:count], labels=samples.labels[:count])
        for samples, count in ((digits.train, 192), (digits.test, 100))
    ]
    return make_images(*parts, name="few digits", source="", classes=10)


def _timeless(net: TrainedNet) -> TrainedNet:
    return replace(net, seconds=0.0)


def _tiny(**changes: object) -> Degradation:
    return run_degradation(depths=(8, 14), training=TINY, lesions=False, **changes)


class Heard:
    """A ``Progress`` that remembers."""

    def __init__(self) -> None:
        self.labels: list[str] = []
        self.total: int | None = None
        self.done = 0

    def start(self, label: str, total: int | None = None) -> None:
        self.labels.append(label)
        self.total = total

    def advance(self, parts: int = 1) -> None:
        self.done += parts

    def finish(self) -> None:
        pass


@pytest.fixture(scope="module")
def tiny(tmp_path_factory) -> tuple[Degradation, Path, Heard]:
    folder, heard = tmp_path_factory.mktemp("run") / "new", Heard()
    return _tiny(folder=folder, progress=heard), folder, heard


def test_values_are_in_order_and_travel_as_json(tiny):
    result, _, heard = tiny
    assert result.labels == ("plain-8", "residual-8", "plain-14", "residual-14")
    assert [net.seed for net in result.nets] == [0, 1] * 4
    assert [net.variant for net in result.runs("residual-14")] == ["resnet14"] * 2
    assert from_json(to_json(result)) == result
    assert (heard.total, heard.done) == (8, 8)
    assert "plain-8, residual-8, plain-14, residual-14" in heard.labels[-1]
    for net in result.nets:
        (epoch,) = net.epochs
        assert epoch.number == 1
        assert 0 < epoch.train_error < 1
        assert epoch.learning_rate == pytest.approx(0.005)
        assert [norms.step for norms in net.gradients] == [0, 22]
        assert len(net.gradients[0].layers) == net.depth
        assert net.gradients[0].layers[:2] == ("conv1", "layer1.0.conv1")
        assert net.gradients[0].layers[-1] == "fc"


def test_plain_and_residual_begin_with_the_same_weights(tiny):
    result, _, _ = tiny
    digests = {}
    for net in result.nets:
        digests.setdefault((net.depth, net.seed), set()).add((net.weights_digest, net.params))
    assert all(len(found) == 1 for found in digests.values())
    assert len({digest for found in digests.values() for digest, _ in found}) == len(digests)


def test_the_same_again_is_equal_and_touches_nothing_here(tiny, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    threads, state = torch.get_num_threads(), torch.get_rng_state()
    again = _tiny(workers=1)
    assert torch.get_num_threads() == threads
    assert torch.equal(torch.get_rng_state(), state)
    assert list(tmp_path.iterdir()) == []
    first, _, _ = tiny
    assert tuple(map(_timeless, again.nets)) == tuple(map(_timeless, first.nets))
    assert replace(again, nets=()) == replace(first, nets=())


def test_a_finished_folder_answers_without_training(tiny, monkeypatch):
    from resnet_viz.experiments import workers

    result, folder, _ = tiny
    monkeypatch.setattr(workers.subprocess, "Popen", lambda *_, **__: pytest.fail("a process"))
    assert _tiny(folder=folder) == result
    fewer = run_degradation(
        depths=(8,), kinds=("plain",), training=TINY, lesions=False, folder=folder
    )
    assert fewer.nets == result.runs("plain-8")


def test_a_folder_takes_one_run_at_a_time(tiny, tmp_path):
    _, folder, _ = tiny
    kept = sorted(folder.iterdir())
    with held(folder):
        with pytest.raises(UserError, match="in use by another run"):
            _tiny(folder=folder)
        resuming.discard(folder)
        assert sorted({*folder.iterdir(), folder / "in-use"}) == sorted({*kept, folder / "in-use"})
    twin = tmp_path / "twin"
    shutil.copytree(folder, twin)
    resuming.discard(twin)
    assert not twin.exists()


def test_a_folder_of_other_settings_is_refused(tiny, tmp_path):
    _, folder, _ = tiny
    other = replace(TINY, learning_rate=0.1)
    with pytest.raises(UserError, match=r"learning_rate 0\.05 there, 0\.1 now"):
        run_degradation(depths=(8,), training=other, folder=folder)
    (tmp_path / "mine.json").write_text("{}")
    with pytest.raises(UserError, match=r"holds mine\.json but no settings"):
        _tiny(folder=tmp_path)
    with pytest.raises(UserError, match="cannot be used"):
        _tiny(folder=tmp_path / "mine.json")


def test_an_epoch_is_what_a_plain_loop_gives(few):
    training = Training(epochs=2, batch_size=64, widths=(4, 4, 8), warmup_steps=3)
    task = NetTask(depth=8, residual=True, seed=5)
    net = train_net(Setting(images=few, training=training), task, lambda _: None)
    model = build_net(task, few, training)
    optimizer = torch.optim.SGD(
        model.parameters(), lr=0.05, momentum=0.9, weight_decay=1e-4, foreach=False
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(
        # Six steps: a warm-up of three, and after 4.5 of them a tenth.
        optimizer, lambda step: min(1, (step + 1) / 3) * (0.1 if step >= 4.5 else 1)
    )  # fmt: skip
    pixels = few.train.pixels.double()
    inputs = ((pixels - pixels.mean()) / pixels.std(correction=0)).float()
    for number in (1, 2):
        generator = torch.Generator().manual_seed(1_000_003 * 6 + number)
        order = torch.randperm(192, generator=generator)
        losses, errors = [], []
        for part in order.split(64):
            outputs = model(inputs[part])
            loss = functional.cross_entropy(outputs, few.train.labels[part])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            rate = optimizer.param_groups[0]["lr"]
            schedule.step()
            losses.append(loss.item())
            errors.append((outputs.argmax(1) != few.train.labels[part]).float().mean().item())
        epoch = net.epochs[number - 1]
        assert epoch.train_loss == pytest.approx(sum(losses) / 3, rel=1e-4)
        assert epoch.train_error == pytest.approx(sum(errors) / 3, abs=0.02)
        assert epoch.learning_rate == pytest.approx(rate)
    model.eval()
    for samples, loss, error in (
        (few.train, epoch.eval_train_loss, epoch.eval_train_error),
        (few.test, epoch.test_loss, epoch.test_error),
    ):
        outputs = model(few.ready(samples.pixels))
        assert loss == pytest.approx(functional.cross_entropy(outputs, samples.labels).item(), 1e-3)
        wrong = (outputs.argmax(1) != samples.labels).float().mean().item()
        assert error == pytest.approx(wrong, abs=0.02)


def test_gradient_norms_are_those_of_backward_and_leave_no_trace(few):
    model = build_net(NetTask(depth=14, residual=False, seed=0), few, TINY)
    model.layer2.eval()
    state = {key: value.clone() for key, value in model.state_dict().items()}
    modes = [module.training for module in model.modules()]
    inputs, labels = few.ready(few.train.pixels[:32]), few.train.labels[:32]
    found = gradient_norms(model, inputs, labels, step=3)
    assert [module.training for module in model.modules()] == modes
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
    model.train()
    functional.cross_entropy(model(inputs), labels).backward()
    oracle = [float(weight.grad.norm()) for weight in weight_layers(model).values()]
    assert found.norms == pytest.approx(oracle, rel=1e-5)
    assert found.step == 3
    with pytest.raises(IndexError):
        gradient_norms(model, inputs, labels + 10)
    assert all(module.training for module in model.modules())


@pytest.mark.parametrize("augmented", [False, True])
def test_a_net_goes_on_where_it_stopped_to_the_bit(few, tmp_path, augmented):
    images = replace(few, augmented=augmented)
    training = Training(epochs=4, widths=(4, 4, 8), warmup_steps=5)
    task = NetTask(depth=8, residual=True, seed=1)
    whole = train_net(Setting(images=images, training=training), task, lambda _: None)
    setting = Setting(images=images, training=training, folder=tmp_path)
    told: list[int] = []

    def stop(parts: int) -> None:
        told.append(parts)
        if len(told) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_net(setting, task, stop)
    kept = tmp_path / "resnet8-seed1.pt"
    assert [path.name for path in tmp_path.iterdir()] == [kept.name]
    assert len(torch.load(kept, weights_only=True)["epochs"]) == 2
    rest: list[int] = []
    resumed = train_net(setting, task, rest.append)
    assert rest == [2, 1, 1]
    assert _timeless(resumed) == _timeless(whole)
    assert resuming.load_finished(tmp_path, task) == resumed
    assert resuming.load_finished(tmp_path, replace(task, lesions=True)) is None
    kept.write_bytes(kept.read_bytes()[:1000])
    with pytest.raises(UserError, match=r"resnet8-seed1\.pt cannot be read .*begins anew"):
        train_net(setting, task, rest.append)
    (tmp_path / "resnet8-seed1.json").write_text("[]")
    with pytest.raises(UserError, match=r"resnet8-seed1\.json cannot be read"):
        resuming.load_finished(tmp_path, task)


SCRIPT = """
import sys
sys.path.insert(0, {root!r})
from resnet_viz.core.experiments.degradation import Training
from resnet_viz.experiments.degradation.run import run_degradation
run_degradation(
    depths=(8,), kinds=("plain",), training=Training(epochs=12, seeds=(0,), widths=(2, 2, 4)),
    lesions=False, folder="run",
)
"""


def test_ctrl_c_leaves_whole_files_and_the_run_goes_on(tmp_path):
    folder = tmp_path / "run"
    script = [sys.executable, "-c", SCRIPT.format(root=str(ROOT))]
    caller = subprocess.Popen(script, cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not list(folder.glob("*.pt")):
        assert time.monotonic() < deadline
        assert caller.poll() is None
        time.sleep(0.02)
    caller.send_signal(signal.SIGINT)
    _, said = caller.communicate(timeout=30)
    assert caller.returncode == -signal.SIGINT
    assert said.count("Traceback") == 1
    kept = {path.name for path in folder.iterdir()}
    assert kept == {"in-use", "plain8-seed0.pt", "settings.json"}
    done = len(torch.load(folder / "plain8-seed0.pt", weights_only=True)["epochs"])
    assert 1 <= done < 12
    training = Training(epochs=12, seeds=(0,), widths=(2, 2, 4))
    heard = Heard()
    (resumed,) = run_degradation(
        depths=(8,), kinds=("plain",), training=training, lesions=False, folder=folder,
        progress=heard,
    ).nets  # fmt: skip
    assert heard.done == 12
    setting = Setting(images=load_digits(), training=training)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        whole = train_net(setting, NetTask(depth=8, residual=False, seed=0), lambda _: None)
    finally:
        torch.set_num_threads(threads)
    assert _timeless(resumed) == _timeless(whole)


def test_lesions_are_made_after_training_even_of_a_net_that_is_done(few, tmp_path):
    training = Training(epochs=1, widths=(4, 4, 8))
    setting = Setting(images=few, training=training, folder=tmp_path)
    task = NetTask(depth=14, residual=True, seed=0)
    whole = train_net(setting, task, lambda _: None)
    told: list[int] = []
    net = train_net(setting, replace(task, lesions=True), told.append)
    assert told == [1, 1]
    assert replace(_timeless(net), lesions=None) == _timeless(whole)
    assert net.lesions is not None
    assert (net.lesions.samples, net.lesions.classes, net.lesions.model) == (100, 10, "resnet14")
    assert net.lesions.loss == pytest.approx(net.epochs[-1].test_loss, rel=1e-5)
    assert net.lesions.error == pytest.approx(net.epochs[-1].test_error)
    assert len(net.lesions.single) == 6
    assert resuming.load_finished(tmp_path, replace(task, lesions=True)) == net


def test_steps_are_those_of_torchs_sgd():
    torch.manual_seed(0)
    ours, theirs = (torch.nn.Linear(3, 2) for _ in range(2))
    theirs.load_state_dict(ours.state_dict())
    sgd = Sgd(ours.parameters(), momentum=0.9, weight_decay=0.01)
    oracle = torch.optim.SGD(theirs.parameters(), lr=1.0, momentum=0.9, weight_decay=0.01)
    for rate in (0.1, 0.2, 0.05):
        inputs = torch.randn(5, 3)
        sgd.step(torch.autograd.grad(ours(inputs).square().sum(), sgd.parameters), rate)
        oracle.param_groups[0]["lr"] = rate
        oracle.zero_grad()
        theirs(inputs).square().sum().backward()
        oracle.step()
        for one, other in zip(ours.parameters(), theirs.parameters(), strict=True):
            torch.testing.assert_close(one, other)


def test_the_learning_rate_warms_up_and_falls():
    training = Training(learning_rate=0.5, warmup_steps=10, decay_at=(0.75, 0.5))
    rates = [learning_rate(training, step, 100) for step in range(100)]
    assert rates[:10] == pytest.approx([0.05 * (step + 1) for step in range(10)])
    assert rates[10:50] == [0.5] * 40
    assert rates[50:75] == pytest.approx([0.05] * 25)
    assert rates[75:] == pytest.approx([0.005] * 25)
    assert learning_rate(replace(training, warmup_steps=0), 0, 100) == 0.5


def test_nets_of_one_seed_are_twins_whatever_the_generator_is_at(few):
    plain = build_net(NetTask(depth=20, residual=False, seed=3), few, Training())
    state = torch.get_rng_state()
    torch.rand(7)
    residual = build_net(NetTask(depth=20, residual=True, seed=3), few, Training())
    other = build_net(NetTask(depth=20, residual=True, seed=4), few, Training())
    torch.set_rng_state(state)
    assert digest_weights(plain) == digest_weights(residual) != digest_weights(other)
    inputs = few.ready(few.test.pixels[:4])
    assert not torch.allclose(plain(inputs), residual(inputs))


def test_quick_changes_only_what_nobody_asked_for(monkeypatch):
    asked: list[Training] = []

    def stop(_depths, _kinds, _images, training, *_):
        asked.append(training)
        raise KeyboardInterrupt

    monkeypatch.setattr(degradation_run, "_train_all", stop)
    he2015 = degradation_run.HE_2015
    for training in (Training(), Training(epochs=3), Training(seeds=(4, 5)), he2015):
        with pytest.raises(KeyboardInterrupt):
            run_degradation(quick=True, training=training)
    assert asked == [
        Training(epochs=10, seeds=(0,)),
        Training(epochs=3, seeds=(0,)),
        Training(epochs=10, seeds=(4, 5)),
        replace(he2015, epochs=10, seeds=(0,)),
    ]


def test_the_recipe_of_he_et_al_takes_64000_steps():
    recipe = degradation_run.HE_2015
    steps = recipe.epochs * (50_000 // recipe.batch_size)
    assert steps == pytest.approx(64_000, rel=1e-3)
    rates = [learning_rate(recipe, step, steps) for step in (0, 31_900, 32_100, 47_900, 48_100)]
    assert rates == pytest.approx([0.1, 0.1, 0.01, 0.01, 0.001])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"depths": (9,)}, "depths 9: each is 6n"),
        ({"depths": ()}, "depths none"),
        ({"kinds": ("dense",)}, "kinds dense: give plain or residual"),
        ({"workers": 0}, "0 workers"),
        ({"training": replace(TINY, seeds=())}, "seeds 0"),
        ({"training": replace(TINY, seeds=(1, 1))}, "each once"),
        ({"training": replace(TINY, epochs=0)}, "epochs 0"),
        ({"training": replace(TINY, batch_size=1)}, "batch norm needs"),
        ({"training": replace(TINY, batch_size=1438)}, "larger than digits with 1437"),
        ({"training": replace(TINY, widths=(8, 16))}, "give three"),
        ({"training": replace(TINY, learning_rate=float("nan"))}, "learning rate nan"),
        ({"training": replace(TINY, momentum=1.0)}, "momentum 1"),
        ({"training": replace(TINY, decay_at=(75,))}, "fractions between"),
        ({"data": "digitz"}, "did you mean digits"),
        ({"device": "cuda:99"}, "--device cuda:99"),
    ],
)
def test_mistakes_are_told_in_one_line_before_anything_runs(options, words, tmp_path):
    with pytest.raises(UserError, match=words) as caught:
        run_degradation(folder=tmp_path / "new", **options)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_the_quick_experiment_shows_what_he_reported():
    result = run_degradation(quick=True)
    assert [(net.label, net.params) for net in result.nets] == [
        ("plain-20", 67_906),
        ("residual-20", 67_906),
        ("plain-56", 214_402),
        ("residual-56", 214_402),
    ]
    missed = [check for check in result.checks if not check.holds]
    assert not missed
    assert len(result.checks) == 8
    assert all(net.lesions is not None for net in result.nets)
    (deep,) = result.runs("residual-56")
    (plain,) = result.runs("plain-56")
    # One block less: a residual net goes on as if nothing had happened.
    errors = sorted(lesion.error for lesion in deep.lesions.single)
    assert errors[len(errors) // 2] < 0.1
    assert plain.epochs[-1].train_error > 0.3
