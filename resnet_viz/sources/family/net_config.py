"""What every config of a net can do: change, check itself, and travel as text.

JSON and TOML hold the same flat table: ``family`` and the options that differ from
their defaults.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import MISSING, dataclass, fields
from typing import Any, ClassVar, Self

from resnet_viz.core.errors import UserError
from resnet_viz.sources.names import did_you_mean


@dataclass(frozen=True, slots=True, kw_only=True)
class NetConfig(ABC):
    """What the configs of all families have in common.

    Attributes:
        family: ``resnet``, ``densenet`` or ``highway``.
        only_with: Options that mean something only where another one has one of some values; the
            others keep their default.
        headlined: Options that ``headline`` says.
        num_classes: Outputs of the last layer.
        in_channels: Channels of the images.
    """

    family: ClassVar[str]
    only_with: ClassVar[Mapping[str, tuple[str, tuple[str, ...]]]] = {}
    headlined: ClassVar[tuple[str, ...]]

    num_classes: int = 1000
    in_channels: int = 3

    @property
    @abstractmethod
    def side(self) -> int:
        """Height and width of the images it was made for."""

    @property
    @abstractmethod
    def block_name(self) -> str:
        """What it repeats, in one word."""

    @property
    @abstractmethod
    def shortcut_name(self) -> str:
        """What stands beside that, in one word; ``none`` for nothing."""

    @property
    @abstractmethod
    def headline(self) -> str:
        """Kind, depth and sizes, in words."""

    @property
    def input_size(self) -> tuple[int, int, int, int]:
        """``(1, C, H, W)`` of the images it was made for."""
        return (1, self.in_channels, self.side, self.side)

    def changed(self, **changes: Any) -> Self:
        """The same config with these options set otherwise.

        What means nothing any more beside them is its default again: a net with SE has the
        net without it back by ``attention="none"``.

        Raises:
            UserError: For an option that does not exist (the known ones are listed) or has
                no effect beside the others, or a value that is not allowed.
        """
        self._check_options(changes)
        options = {field.name: getattr(self, field.name) for field in fields(self)} | changes
        for option, (other, values) in self.only_with.items():
            if option not in changes and options[other] not in values:
                del options[option]
        return type(self)(**options)

    def check_effects(self) -> None:
        """Nothing, where all options that are not their default mean something.

        Raises:
            UserError: For the first that has no effect beside the others.
        """
        defaults = {field.name: field.default for field in fields(self)}
        for option, (other, values) in self.only_with.items():
            given = getattr(self, option)
            if getattr(self, other) not in values and given != defaults[option]:
                raise UserError(
                    f"{option}={given!r} has no effect with {other}={getattr(self, other)!r}: "
                    f"set {other} to {' or '.join(values)}, or leave {option} out"
                )

    def __str__(self) -> str:
        others = "".join(f", {words}" for words in self._differences())
        return f"{self.headline}{others}, {self.in_channels} channels to {self.num_classes} classes"

    def _differences(self) -> Iterator[str]:
        """What is not as in the paper of the family, in words."""
        for field in fields(self):
            value = getattr(self, field.name)
            apart = field.name in (*self.headlined, "num_classes", "in_channels")
            if not apart and value != field.default:
                words = field.name.replace("_", " ")
                yield words if value is True else f"{words} {value}"

    @classmethod
    def _check_options(cls, given: Iterable[str]) -> None:
        options = [field.name for field in fields(cls)]
        for option in given:
            if option not in options:
                raise UserError(
                    f"unknown option {option!r}{did_you_mean(option, options)}; "
                    f"the options are: {', '.join(options)}"
                )

    def to_dict(self) -> dict[str, Any]:
        """``family`` and every option that is not its default, as JSON and TOML hold it."""
        options = {
            field.name: getattr(self, field.name)
            for field in fields(self)
            if field.default is MISSING or getattr(self, field.name) != field.default
        }
        return {"family": self.family, **{k: _plain(v) for k, v in options.items()}}

    @classmethod
    def from_dict(cls, table: Mapping[str, Any]) -> Self:
        """The config that ``to_dict`` wrote; what is left out keeps its default.

        ``NetConfig.from_dict`` reads any family's, a family's own class also tables that
        do not name it.

        Raises:
            UserError: For another family, an option that does not exist (the known ones
                are listed), one that is missing or a value that is not allowed.
        """
        if cls is NetConfig:
            from resnet_viz.sources.family.families import config_class

            family: Any = config_class(table.get("family"))
            config: Self = family.from_dict(table)
            return config
        options = {key: value for key, value in table.items() if key != "family"}
        if table.get("family", cls.family) != cls.family:
            raise UserError(f"family={table['family']!r} is no {cls.family}: leave it out")
        cls._check_options(options)
        missing = [f.name for f in fields(cls) if f.default is MISSING and f.name not in options]
        if missing:
            raise UserError(f"{' and '.join(missing)} must be given for family={cls.family!r}")
        return cls(**{key: _frozen(value) for key, value in options.items()})

    def to_json(self) -> str:
        """``to_dict`` as JSON text, which a config file may hold."""
        return json.dumps(self.to_dict(), indent=2) + "\n"

    def to_toml(self) -> str:
        """``to_dict`` as TOML text, which a config file may hold."""
        return "".join(f"{key} = {toml_value(value)}\n" for key, value in self.to_dict().items())


def toml_value(value: Any) -> str:
    """A text, number, bool or list of them in TOML, which writes these as JSON does."""
    return json.dumps(_plain(value), ensure_ascii=False)


def _frozen(value: Any) -> Any:
    return tuple(_frozen(item) for item in value) if isinstance(value, list) else value


def _plain(value: Any) -> Any:
    return [_plain(item) for item in value] if isinstance(value, tuple) else value


def check_known(option: str, value: object, known: Iterable[str]) -> str:
    """The name, with ``None`` read as ``none``.

    Raises:
        UserError: If it is not known.
    """
    known = tuple(known)
    # ``norm=None`` is how Python says "none".
    name = "none" if value is None and "none" in known else value
    if isinstance(name, str) and name in known:
        return name
    raise UserError(
        f"{option}={value!r} is not known{did_you_mean(str(value), known)}; "
        f"allowed: {', '.join(known)}"
    )


def check_count(option: str, value: object) -> None:
    """A whole number above 0.

    Raises:
        UserError: If it is none.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise UserError(f"{option}={value!r} is not allowed: give a whole number above 0")


def check_number(
    option: str, value: object, low: float | None = None, high: float | None = None
) -> None:
    """A finite number within ``low`` and ``high``, both allowed.

    Raises:
        UserError: If it is none.
    """
    number = isinstance(value, int | float) and not isinstance(value, bool)
    inside = (
        number
        and abs(value) < float("inf")  # type: ignore[arg-type]
        and (low is None or value >= low)  # type: ignore[operator]
        and (high is None or value <= high)  # type: ignore[operator]
    )
    if not inside:
        bounds = f" from {low} to {high}" if high is not None else ""
        bounds = f" of at least {low}" if high is None and low is not None else bounds
        raise UserError(f"{option}={value!r} is not allowed: give a number{bounds}")


def check_sizes(option: str, value: object) -> tuple[int, ...]:
    """Whole numbers above 0, one per stage.

    Raises:
        UserError: If they are none.
    """
    if not isinstance(value, tuple | list) or not value:
        raise UserError(
            f"{option}={value!r} is not allowed: give one number per stage, "
            f"such as {option}=(3,4,6,3)"
        )
    for item in value:
        check_count(option, item)
    return tuple(value)


def dashed(sizes: Iterable[int]) -> str:
    """``(3, 4, 6, 3)`` as ``3-4-6-3``."""
    return "-".join(map(str, sizes))
