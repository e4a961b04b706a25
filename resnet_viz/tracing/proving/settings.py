"""What a call depends on besides its arguments, as it was and as it shall be again."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import NamedTuple

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

_ATTENTION = (
    SDPBackend.FLASH_ATTENTION,
    SDPBackend.EFFICIENT_ATTENTION,
    SDPBackend.MATH,
    SDPBackend.CUDNN_ATTENTION,
)


class Settings(NamedTuple):
    """Grad mode, autocast, and which kernels attention may choose from.

    Attributes:
        grad: Whether gradients are recorded.
        inference: Whether inference mode is on.
        autocast: Devices with autocast on, and its dtype there.
        dtype: The default of new tensors.
        attention: Backends that are enabled: flash, memory-efficient, math, cuDNN.
    """

    grad: bool
    inference: bool
    autocast: tuple[tuple[str, torch.dtype], ...]
    dtype: torch.dtype
    attention: tuple[bool, ...]

    @contextmanager
    def again(self) -> Iterator[None]:
        """Within it these settings hold."""
        now = settings_now()
        with ExitStack() as stack:
            if self.inference != now.inference:
                stack.enter_context(torch.inference_mode(self.inference))
            if self.grad != torch.is_grad_enabled():
                stack.enter_context(torch.set_grad_enabled(self.grad))
            if self.dtype != now.dtype:
                torch.set_default_dtype(self.dtype)
                stack.callback(torch.set_default_dtype, now.dtype)
            for device, dtype in self.autocast:
                stack.enter_context(torch.autocast(device, dtype))
            if self.attention != now.attention:
                chosen = zip(_ATTENTION, self.attention, strict=True)
                stack.enter_context(sdpa_kernel([backend for backend, on in chosen if on]))
            yield


def settings_now() -> Settings:
    """The present settings."""
    autocast: tuple[tuple[str, torch.dtype], ...] = ()
    if torch._C._is_any_autocast_enabled():
        here = torch.accelerator.is_available()
        accelerator = torch.accelerator.current_accelerator() if here else None
        devices = ["cpu"] if accelerator is None else ["cpu", accelerator.type]
        autocast = tuple(
            (device, torch.get_autocast_dtype(device))
            for device in devices
            if torch.is_autocast_enabled(device)
        )
    return Settings(
        grad=torch.is_grad_enabled(),
        inference=torch.is_inference_mode_enabled(),
        autocast=autocast,
        dtype=torch.get_default_dtype(),
        attention=(
            torch._C._get_flash_sdp_enabled(),
            torch._C._get_mem_efficient_sdp_enabled(),
            torch._C._get_math_sdp_enabled(),
            torch._C._get_cudnn_sdp_enabled(),
        ),
    )
