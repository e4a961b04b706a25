"""Where gradients go: ``rv.gradient_flow``, by path, as signals, and with blocks deleted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

from resnet_viz.core.gradient_flow import Stats
from resnet_viz.core.progress import SILENT, Progress
from resnet_viz.study import Mode, Study, analyse, lesions_of, sized

if TYPE_CHECKING:
    import torch
    from torch import nn

    from resnet_viz.analysis.rules import Thresholds
    from resnet_viz.core.experiments.lesions import LesionStudy
    from resnet_viz.core.gradient_flow import GradientFlow
    from resnet_viz.core.paths import PathGradients
    from resnet_viz.core.propagation import SignalPropagation
    from resnet_viz.measuring.losses import LossFunction
    from resnet_viz.study.sizes import Dtypes, InputSize


def gradient_flow(
    model: nn.Module | str,
    data: Any = None,
    loss_fn: LossFunction | str | None = None,
    *,
    input_size: InputSize | None = None,
    dtypes: Dtypes | None = None,
    mode: Mode | None = None,
    device: str | None = None,
    batch_size: int | None = None,
    batches: int = 1,
    stats: Stats = "default",
    optimizer: torch.optim.Optimizer | str | None = None,
    autocast: bool = False,
    seed: int = 0,
    thresholds: Thresholds | None = None,
    progress: Progress = SILENT,
    **kwargs: Any,
) -> GradientFlow:
    """Where the gradient goes, over one batch or many, with findings.

    A model in DDP or FSDP2 is measured by every process of its group at once, each on its own
    data, and each gets what all of them found; call it on every rank.

    Args:
        model: Left as it came: mode, parameters, buffers, ``.grad``, hooks, RNG.
        data: A tuple ``(inputs, targets)``: one batch; or any other iterable of such
            tuples, whose first ``batches`` are taken, shuffled by ``seed`` where it shuffles.
            ``inputs`` are what ``trace`` takes as ``input_data``; a dict or a tensor in
            place of a tuple is inputs without targets. Text is ``digits``, ``random``, a
            folder of images, ``torchvision:NAME`` or ``file.py:loader``. Without data seeded
            N(0, 1) inputs and random labels.
        loss_fn: ``loss_fn(outputs, targets)``, or text: ``cross_entropy``, ``mse``,
            ``file.py:function``; the rule of ``measuring.losses`` without one. The loss is
            named in the result.
        input_size: Shape of the inputs where there are no data, as ``trace`` takes it.
        dtypes: Of these inputs.
        mode: Train or eval mode; the mode the model has if ``None``.
        device: Where to run; where the model is if ``None``.
        batch_size: Samples of a batch where the data do not say; 8 if ``None``.
        batches: How many to measure; the result holds means and spreads.
        stats: ``norms`` (L2 and edge shares alone), ``default``, or ``full``: every
            statistic of every call, exact quantiles.
        optimizer: Whose update ratios ‖w′ − w‖/‖w‖ to measure, by a real step that is
            undone: an optimizer over the model's parameters, or text such as
            ``adamw:lr=1e-3``.
        autocast: Whether forward and loss run under bfloat16 autocast.
        seed: Of inputs, labels, data order and dropout.
        thresholds: When to speak of vanishing, exploding and starving, as in
            ``rv.Thresholds(depth_factor=1.1)``.
        progress: Who listens.
        **kwargs: More keyword arguments of ``forward``.

    Raises:
        UserError: If batch norm refuses the batch or nothing can be differentiated.
        ModelError: If ``forward`` or ``backward`` raises.
    """
    study = Study(
        model=model,
        data=data,
        loss_fn=loss_fn,
        inputs=sized(input_size, dtypes),
        input_kwargs=kwargs,
        mode=mode,
        device=device,
        batch_size=batch_size,
        batches=batches,
        stats=stats,
        optimizer=optimizer,
        autocast=autocast,
        seed=seed,
        thresholds=thresholds,
        sections=("gradient flow",),
    )
    made = analyse(study, progress, tolerant=False)
    flow = cast("GradientFlow", made.gradient_flow)
    return replace(flow, findings=made.findings)


def path_gradients(
    model: nn.Module | str,
    data: Any = None,
    loss_fn: LossFunction | str | None = None,
    *,
    input_size: InputSize | None = None,
    dtypes: Dtypes | None = None,
    mode: Mode | None = None,
    device: str | None = None,
    batch_size: int | None = None,
    draws: int = 0,
    lengths: Sequence[int] | None = None,
    chunk: int | None = None,
    seed: int = 0,
    progress: Progress = SILENT,
    **kwargs: Any,
) -> PathGradients:
    """The gradient at the input, split by how many residual branches its paths run through.

    Args:
        model: Left exactly as it came.
        data: As ``gradient_flow`` takes it; the first batch is used.
        loss_fn: Likewise.
        input_size: Likewise.
        dtypes: Likewise.
        mode: Likewise.
        device: Likewise.
        batch_size: Likewise; 4 if ``None``.
        draws: Paths of each length to sample as Veit et al. 2016 do; 0 for none.
        lengths: Which lengths to sample; all, or about 20 of them, if ``None``.
        chunk: Degrees pulled back at a time, which bounds the memory of one pull.
        seed: Of inputs, labels and draws.
        progress: Who listens.
        **kwargs: More keyword arguments of ``forward``.

    Raises:
        UserError: For lengths that no path has, or lengths without draws.
        NotApplicableError: If the graph cannot be split into blocks, with the reason.
        ModelError: If ``forward`` or ``backward`` raises.
    """
    study = Study(
        model=model,
        data=data,
        loss_fn=loss_fn,
        inputs=sized(input_size, dtypes),
        input_kwargs=kwargs,
        mode=mode,
        device=device,
        batch_size=4 if batch_size is None else batch_size,
        path_draws=draws,
        sampled_lengths=None if lengths is None else tuple(lengths),
        chunk=chunk,
        seed=seed,
        sections=("path gradients",),
    )
    return cast("PathGradients", analyse(study, progress, tolerant=False).path_gradients)


def signal_propagation(
    model: nn.Module | str,
    data: Any = None,
    loss_fn: LossFunction | str | None = None,
    *,
    input_size: InputSize | None = None,
    dtypes: Dtypes | None = None,
    mode: Mode | None = None,
    device: str | None = None,
    batch_size: int | None = None,
    probes: int = 32,
    steps: int = 25,
    jacobian_samples: int = 1,
    block_spectra: bool = False,
    seed: int = 0,
    progress: Progress = SILENT,
    **kwargs: Any,
) -> SignalPropagation:
    """Moments of the signal per block, forward and backward, and the Jacobian's spectrum.

    Args:
        model: Left exactly as it came.
        data: As ``gradient_flow`` takes it; the first batch is used.
        loss_fn: Likewise.
        input_size: Likewise.
        dtypes: Likewise.
        mode: Likewise; of the plots. Jacobians are taken in eval mode.
        device: Likewise.
        batch_size: Likewise.
        probes: Random vectors that the Jacobian's moments are estimated with; 0 leaves the
            Jacobian out.
        steps: Lanczos steps to its extreme singular values.
        jacobian_samples: Samples whose Jacobian is looked at; the result is their mean.
        block_spectra: Whether to look at each block's Jacobian, too.
        seed: Of inputs, labels and probes.
        progress: Who listens.
        **kwargs: More keyword arguments of ``forward``.

    Raises:
        NotApplicableError: If the model has no signal to follow, with the reason.
        ModelError: If ``forward`` raises.
    """
    study = Study(
        model=model,
        data=data,
        loss_fn=loss_fn,
        inputs=sized(input_size, dtypes),
        input_kwargs=kwargs,
        mode=mode,
        device=device,
        batch_size=batch_size,
        probes=probes,
        steps=steps,
        jacobian_samples=jacobian_samples,
        block_spectra=block_spectra,
        seed=seed,
        sections=("signal propagation",),
    )
    made = analyse(study, progress, tolerant=False)
    return cast("SignalPropagation", made.signal_propagation)


def lesion_study(
    model: nn.Module | str,
    data: Any,
    *,
    classes: int | None = None,
    counts: Sequence[int] = (2, 5, 10, 15),
    draws: int = 3,
    permutations: Sequence[float] = (0.95, 0.9, 0.8, 0.6),
    seed: int = 0,
    name: str = "",
    data_name: str = "",
    progress: Progress = SILENT,
) -> LesionStudy:
    """Loss and error of a classifier with blocks deleted or permuted at test time.

    Args:
        model: Left exactly as it came; runs in eval mode, where it is.
        data: ``(inputs, targets)``, or an iterable of such batches, all of which are used.
        classes: Number of classes; as many as there are logits if ``None``.
        counts: How many blocks to delete at once.
        draws: Random choices of each count and each tau.
        permutations: Kendall's tau of the orders to try.
        seed: Of the choices.
        name: What to call the net.
        data_name: What the data are, in words.
        progress: Who listens.

    Raises:
        UserError: If the data are no batches of inputs and class numbers.
        NotApplicableError: If the net gives no logits or has no block to delete.
        ModelError: If ``forward`` raises.
    """
    return lesions_of(
        Study(model=model, name=name, seed=seed, sections=()),
        data,
        classes=classes,
        counts=counts,
        draws=draws,
        permutations=permutations,
        data_name=data_name,
        progress=progress,
    )
