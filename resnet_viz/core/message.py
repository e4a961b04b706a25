"""Sentences that know how they were made, so that a report can say them in another language.

A ``Message`` is its English text and may be used as any other ``str``. It also remembers the
template and the values that were put into it: ``gettext`` looks templates up, never sentences
with numbers in them. Whatever forgets that (an f-string, ``+``, ``.upper()``) leaves plain
English behind, so a sentence is made of messages by ``say`` and ``join`` only.
"""

from __future__ import annotations

from collections.abc import Iterable


class Message(str):
    """English text that remembers its template.

    Attributes:
        template: What a catalogue is asked for, with ``{names}`` in it.
        plural: The template for other numbers than one; empty where there is one form only.
        number: What decides between the two.
        values: What was put into the template; messages among them are said in the same language.
    """

    __slots__ = ("number", "plural", "template", "values")

    template: str
    plural: str
    number: float
    values: dict[str, object]

    def __reduce__(self) -> tuple[object, ...]:
        if self.plural:
            return _plural, (self.template, self.plural, self.number, self.values)
        return _single, (self.template, self.values)


class Joined(Message):
    """Messages and other texts in a row; ``template`` is what stands between them."""

    __slots__ = ()

    def __reduce__(self) -> tuple[object, ...]:
        return join, (self.template, list(self.values.values()))


def say(template: str, /, **values: object) -> Message:
    """The template with these values in it.

    Args:
        template: A literal, so that it is found for the catalogue; braces as in ``str.format``.
        **values: Numbers and names as they are to be read (``units`` formats them).
    """
    return _single(template, values)


def say_n(one: str, many: str, n: float, /, **values: object) -> Message:
    """One of two templates by number; ``{n}`` stands for the number in both."""
    return _plural(one, many, n, {"n": f"{n:,}", **values})


def join(separator: str, parts: Iterable[object]) -> Message:
    """The parts with this between them; each is said in its language."""
    texts = list(parts)
    found = Joined(separator.join(str(part) for part in texts))
    return _filled(found, separator, "", 0, {str(i): part for i, part in enumerate(texts)})


def sentences(*parts: str | None) -> Message:
    """One after the other with a space between; those that are not there are left out."""
    return join(" ", filter(None, parts))


def _single(template: str, values: dict[str, object]) -> Message:
    text = template.format(**values) if values else template.format()
    return _filled(Message(text), template, "", 0, values)


def _plural(one: str, many: str, number: float, values: dict[str, object]) -> Message:
    found = Message((one if number == 1 else many).format(**values))
    return _filled(found, one, many, number, values)


def _filled(
    message: Message, template: str, plural: str, number: float, values: dict[str, object]
) -> Message:
    message.template, message.plural = template, plural
    message.number, message.values = number, values
    return message
