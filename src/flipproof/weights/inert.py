r"""Reading pickled tensors without unpickling: nothing in the bytes is looked up, imported or called.

A pickle is a program. Python's unpickler runs it, and a program that somebody else wrote can do anything. This
reader only *describes* it: ``pickletools`` splits the bytes into instructions, a name stays text (:class:`Name`),
and what the unpickler would call becomes a record (:class:`Call`). The caller takes the records it knows, such as an
array's shape and bytes, and refuses the rest. So foreign bytes can at worst raise
:class:`~flipproof.errors.WeightsError`.

It knows the instructions of pickle protocols 2 and 3 that dictionaries of arrays and tensors need; the documentation
of ``pickletools`` says what each does.

Example:
    >>> import io
    >>> read_pickle(io.BytesIO(b"\x80\x02cos\nsystem\nX\x04\0\0\0true\x85R."))
    Call(function=Name(text='os system'), arguments=('true',), state=None)
"""

from __future__ import annotations

import pickletools
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from typing import Any, BinaryIO

from flipproof.errors import WeightsError

__all__ = ["Call", "Name", "Persistent", "read_pickle"]

MAX_INSTRUCTIONS = 2**16
"""Twice what a network of 500 tensors needs; bounds the memory that hostile bytes can ask for."""


@dataclass(frozen=True)
class Name:
    """A global name: the module, a space and the name in it."""

    text: str


@dataclass
class Call:
    """What the unpickler would call; not frozen, because its state may come after others refer to it.

    Attributes:
        function: What would be called; a :class:`Name` in honest files.
        arguments: With what.
        state: What would be given to ``__setstate__`` of the result, or None.
    """

    function: object
    arguments: object
    state: object = None


_ORDERED = Name("collections OrderedDict")


@dataclass(frozen=True)
class Persistent:
    """An object kept outside the pickle, by its identifier."""

    identifier: object


def read_pickle(stream: BinaryIO) -> Any:  # noqa: ANN401
    """Describes the next pickle in a stream, and leaves the stream after it.

    Arguments:
        stream: Where to read; a file may hold several pickles one after the other.

    Returns:
        Dictionaries (ordered ones too, without what else they carry), lists, tuples, text, bytes, numbers and None,
        and :class:`Call`, :class:`Name` and :class:`Persistent` for everything else.

    Raises:
        WeightsError: The bytes are cut off, are no pickle, or need an instruction that arrays do not need.
    """
    machine = _Machine()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for opcode, argument, _ in islice(pickletools.genops(stream), MAX_INSTRUCTIONS):
                if opcode.name == "STOP":
                    return machine.pop()
                machine.execute(opcode.name, argument)
    except (ValueError, LookupError, TypeError, AttributeError, OverflowError) as error:
        raise WeightsError(f"expected a pickle of arrays, got one that breaks off or is malformed: {error}") from error
    raise WeightsError(f"expected a pickle of arrays, got one that does not end within {MAX_INSTRUCTIONS} instructions")


class _Machine:
    """The stack and the memo that pickle instructions work on."""

    def __init__(self) -> None:
        self.frames: list[list[Any]] = [[]]
        self.memo: dict[int, Any] = {}

    def execute(self, name: str, argument: Any) -> None:  # noqa: ANN401
        if name in _LITERALS:
            self.push(argument)
        elif name in _CONSTANTS:
            self.push(_CONSTANTS[name])
        elif name in _ACTIONS:
            _ACTIONS[name](self, argument)
        else:
            raise WeightsError(f"expected a pickle of arrays, got one with the instruction {name}")

    def push(self, value: Any) -> None:  # noqa: ANN401
        self.frames[-1].append(value)

    def pop(self) -> Any:  # noqa: ANN401
        return self.frames[-1].pop()

    def since_mark(self) -> list[Any]:
        if len(self.frames) == 1:
            raise WeightsError("expected a pickle of arrays, got one that lacks a mark")
        return self.frames.pop()

    def tuple(self, length: int) -> None:
        items = [self.pop() for _ in range(length)]
        self.push(tuple(reversed(items)))

    def append(self, items: list[Any]) -> None:
        self.frames[-1][-1].extend(items)

    def set_items(self, items: list[Any]) -> None:
        if not all(isinstance(key, str) for key in items[::2]):
            raise WeightsError("expected a pickle of arrays with names, got one with other keys")
        self.frames[-1][-1].update(zip(items[::2], items[1::2], strict=True))

    def remember(self, slot: int) -> None:
        self.memo[slot] = self.frames[-1][-1]

    def reduce(self) -> None:
        arguments = self.pop()
        function = self.pop()
        self.push({} if function == _ORDERED and arguments == () else Call(function, arguments))

    def build(self) -> None:
        state = self.pop()
        target = self.frames[-1][-1]
        if isinstance(target, dict):
            return
        if not isinstance(target, Call):
            raise WeightsError(f"expected a pickle of arrays, got one that sets the state of a {type(target).__name__}")
        target.state = state


_LITERALS = frozenset(
    ("BININT", "BININT1", "BININT2", "LONG1", "BINUNICODE", "SHORT_BINBYTES", "BINBYTES"),
)
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_ACTIONS: dict[str, Callable[[_Machine, Any], None]] = {
    "PROTO": lambda machine, _: None,
    "MARK": lambda machine, _: machine.frames.append([]),
    "EMPTY_DICT": lambda machine, _: machine.push({}),
    "EMPTY_LIST": lambda machine, _: machine.push([]),
    "EMPTY_TUPLE": lambda machine, _: machine.push(()),
    "TUPLE": lambda machine, _: machine.push(tuple(machine.since_mark())),
    "TUPLE1": lambda machine, _: machine.tuple(1),
    "TUPLE2": lambda machine, _: machine.tuple(2),
    "TUPLE3": lambda machine, _: machine.tuple(3),
    "APPEND": lambda machine, _: machine.append([machine.pop()]),
    "APPENDS": lambda machine, _: machine.append(machine.since_mark()),
    "SETITEM": lambda machine, _: machine.set_items([machine.pop(), machine.pop()][::-1]),
    "SETITEMS": lambda machine, _: machine.set_items(machine.since_mark()),
    "BINPUT": lambda machine, slot: machine.remember(slot),
    "LONG_BINPUT": lambda machine, slot: machine.remember(slot),
    "BINGET": lambda machine, slot: machine.push(machine.memo[slot]),
    "LONG_BINGET": lambda machine, slot: machine.push(machine.memo[slot]),
    "GLOBAL": lambda machine, text: machine.push(Name(text)),
    "REDUCE": lambda machine, _: machine.reduce(),
    "BUILD": lambda machine, _: machine.build(),
    "BINPERSID": lambda machine, _: machine.push(Persistent(machine.pop())),
}
