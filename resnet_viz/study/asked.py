"""``Study``: what is asked of one model, as plain values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from numbers import Integral
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from resnet_viz.core.attribution_options import NAMES, AttributionOptions
from resnet_viz.core.errors import UserError, listed
from resnet_viz.core.gradient_flow import Stats
from resnet_viz.core.report import Section

if TYPE_CHECKING:
    import torch
    from torch import nn

    from resnet_viz.analysis.rules import Thresholds
    from resnet_viz.measuring.losses import LossFunction
    from resnet_viz.sources.inputs import InputSpec

Mode = Literal["train", "eval"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Study:
    """What is asked of one model: the whole of a command line, or of ``rv.report``.

    Attributes:
        model: A module, or text as ``load`` takes it.
        args: Keyword arguments of the constructor or factory.
        weights: A file, or a tag that torchvision publishes.
        unsafe_load: Whether files may be unpickled that run code then.
        trust_remote_code: Whether Python code that comes with a ``hf:`` config may run.
        name: What to call the model.
        inputs: Specs of the inputs; found if there are none.
        input_data: Real inputs instead: a tensor, a tuple or a dict.
        input_files: Or files that hold them, as ``--input-file`` names them.
        inputs_from: Or a function that makes them, as ``file.py:name``.
        input_kwargs: More keyword arguments of ``forward``, beside any of these.
        data: ``(inputs, targets)`` for gradient flow, an iterable of such pairs, or text:
            ``digits``, ``random``, a folder of images, ``torchvision:CIFAR10`` or
            ``file.py:loader``; see ``sources.feeds``.
        data_dir: Where the files of a ``torchvision:`` data set lie.
        batches: How many batches gradient flow is measured over.
        loss_fn: ``loss_fn(outputs, targets)``, or text: ``cross_entropy``, ``mse`` or
            ``file.py:function``; see ``measuring.losses`` without one.
        stats: How much gradient flow measures: ``norms``, ``default`` or ``full``.
        autocast: Whether forward and loss run under bfloat16 autocast.
        optimizer: Whose update ratios are measured: an optimizer over the model's
            parameters, or text: ``sgd``, ``adam``, ``adamw:lr=1e-3``.
        path_draws: Paths of each length that Veit's sampling draws; 0 for none.
        sampled_lengths: Which lengths it draws; all, or about 20 of them, if ``None``.
        chunk: Degrees of the path polynomial pulled back at a time.
        probes: Random vectors that the Jacobian's moments are estimated with.
        steps: Lanczos steps to its extreme singular values.
        jacobian_samples: Samples whose Jacobian is looked at.
        block_spectra: Whether to look at each block's Jacobian, too.
        images: Photographs to explain; a default one where the input is an image.
        image_size: Side of their crop.
        mean: Of their channels.
        std: Of their channels.
        labels: Names of the classes: themselves, ``imagenet``, or a file with a name per line;
            the model's own, where they are known, if empty.
        sections: What to measure.
        times: Whether to measure how long each call takes, too.
        mode: Train or eval mode of gradient flow; the model's own if ``None``.
        device: As ``measuring.device.pick_device`` takes it.
        batch_size: Samples of gradient flow where no data are given.
        seed: Of weights, inputs, labels and methods.
        attribution: What is asked of attributions.
        thresholds: When findings speak.
        verify: Whether to prove the graph faithful.
        command: The command line, where there was one.
        created: ISO date and time, or empty.
    """

    model: nn.Module | str
    args: Mapping[str, Any] = field(default_factory=dict)
    weights: str | None = None
    unsafe_load: bool = False
    trust_remote_code: bool = False
    name: str = ""
    inputs: tuple[InputSpec, ...] = ()
    input_data: Any = None
    input_files: tuple[str, ...] = ()
    inputs_from: str = ""
    input_kwargs: Mapping[str, Any] = field(default_factory=dict)
    data: Any = None
    data_dir: Path | None = None
    batches: int = 1
    loss_fn: LossFunction | str | None = None
    stats: Stats = "default"
    autocast: bool = False
    optimizer: torch.optim.Optimizer | str | None = None
    path_draws: int = 0
    sampled_lengths: tuple[int, ...] | None = None
    chunk: int | None = None
    probes: int = 8
    steps: int = 12
    jacobian_samples: int = 1
    block_spectra: bool = False
    images: tuple[Path, ...] = ()
    image_size: int | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    labels: tuple[str, ...] | str = ()
    sections: tuple[Section, ...] = ("gradient flow", "attributions")
    times: bool = False
    mode: Mode | None = None
    device: str | None = None
    batch_size: int | None = None
    seed: int = 0
    attribution: AttributionOptions = field(default_factory=AttributionOptions)
    thresholds: Thresholds | None = None
    verify: bool = False
    command: str = ""
    created: str = ""

    @property
    def measured(self) -> tuple[Section, ...]:
        """The sections to measure: those asked for, and times."""
        more: tuple[Section, ...] = ("op times",) if self.times else ()
        return tuple(dict.fromkeys((*self.sections, *more)))

    def __post_init__(self) -> None:
        """Refuses what no measurement takes.

        Raises:
            UserError: For a word or a number that is none of those allowed.
        """
        for name, words in (("stats", get_args(Stats)), ("mode", get_args(Mode))):
            value = getattr(self, name)
            if value is not None and value not in words:
                raise UserError(f"{name}={value!r} was given: give {listed(words)}")
        for name in ("batches", "batch_size"):
            value = getattr(self, name)
            if value is not None and (not isinstance(value, Integral) or value < 1):
                raise UserError(f"{name}={value!r} was given: give a whole number, 1 or more")


def study_of(model: nn.Module | str, **options: Any) -> Study:
    """A ``Study`` by keyword; those of ``AttributionOptions`` stand beside the others.

    Raises:
        UserError: For a value that no measurement takes.
        TypeError: For a keyword of neither.
    """
    own = {name: options.pop(name) for name in NAMES & options.keys()}
    given = options.pop("attribution", None)
    if own and given is not None:
        raise UserError(f"attribution= and {listed(sorted(own))} both say what to attribute")
    if own:
        given = AttributionOptions(**own)
    return Study(model=model, attribution=given or AttributionOptions(), **options)
