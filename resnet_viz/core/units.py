"""Numbers for people: one way to write each kind of number, everywhere."""

from __future__ import annotations

import math

from resnet_viz.core.message import Message, say_n

DTYPE_BYTES = {
    "bool": 1, "uint8": 1, "int8": 1, "int16": 2, "uint16": 2, "int32": 4,
    "uint32": 4, "int64": 8, "uint64": 8, "float16": 2, "bfloat16": 2,
    "float32": 4, "float64": 8, "complex32": 4, "complex64": 8, "complex128": 16,
    "float8_e4m3fn": 1, "float8_e5m2": 1, "float8_e4m3fnuz": 1, "float8_e5m2fnuz": 1,
    "float8_e8m0fnu": 1, "float4_e2m1fn_x2": 1, "qint8": 1, "quint8": 1, "qint32": 4,
    "quint4x2": 1, "quint2x4": 1, "bits1x8": 1, "bits2x4": 1, "bits4x2": 1, "bits8": 1,
    "bits16": 2,
} | {f"{kind}{bits}": 1 for kind in ("int", "uint") for bits in range(1, 8)}  # fmt: skip
"""Bytes per element by dtype, as torch stores it."""

_SI = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))


def si(value: float, digits: int = 3) -> str:
    """``25557032`` -> ``25.6 M``: ``digits`` significant digits and an SI prefix."""
    for scale, prefix in _SI:
        if abs(value) >= scale * 0.9995:
            scaled = value / scale
            decimals = max(0, digits - 1 - math.floor(math.log10(abs(scaled))))
            return f"{scaled:.{decimals}f} {prefix}"
    return f"{value:g}"


def nbytes(value: float) -> str:
    """``4096`` -> ``4.10 kB`` (decimal kilobytes)."""
    text = si(value)
    return f"{text}B" if text[-1].isalpha() else f"{text} B"


def seconds(value: float) -> str:
    """``0.0123`` -> ``12.3 ms``: three significant digits, from nanoseconds on."""
    if not math.isfinite(value):
        return f"{scientific(value)} s"
    for scale, unit in ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs")):
        if abs(value) >= scale * 0.9995:
            return f"{_digits(value / scale)} {unit}"
    return f"{_digits(value * 1e9)} ns"


def _digits(value: float) -> str:
    """Three significant digits without an exponent; more where the number is larger."""
    return f"{value:#.3g}".rstrip(".") if abs(value) < 999.5 else f"{value:.0f}"


def scientific(value: float) -> str:
    """Three significant digits; exponents only where they help (``3.1e-05``)."""
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "-∞" if value < 0 else "∞"
    if value == 0:
        return "0"
    if 1e-3 <= abs(value) < 1e4:
        return f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"
    return f"{value:.2e}"


def percent(share: float) -> str:
    """``0.4321`` -> ``43.2 %``."""
    return f"{share * 100:.1f} %"


def shape(dims: tuple[int, ...]) -> str:
    """``(1, 64, 56, 56)`` -> ``1×64×56×56``; a scalar is ``scalar``."""
    return "×".join(str(d) for d in dims) if dims else "scalar"


def count(number: int, noun: str, plural: str | None = None) -> Message:
    """``16, "skip"`` -> ``16 skips``; ``1, "skip"`` -> ``1 skip``.

    A noun is a literal, so that the catalogue has ``{n} skips``.
    """
    return say_n(f"{{n}} {noun}", f"{{n}} {plural or noun + 's'}", number)
