"""What stands for a value that only a step's run can give, while a plan is previewed."""

from __future__ import annotations

from typing import Any, NoReturn


class UnknownValue(Exception):
    """An expression needs what is known only after ``steps`` have run."""

    def __init__(self, steps: frozenset[str]) -> None:
        self.steps = steps
        super().__init__(f"known only after {', '.join(sorted(steps))} has run")


    @property
    def mistaken(self) -> bool:
        """Whether it is a mistake, told elsewhere, that leaves the value open (`MISTAKEN`)."""
        return "" in self.steps


class Unknown:
    """A value that is known only after ``step`` has run. Any use of it raises `UnknownValue`."""

    __slots__ = ("_step",)

    def __init__(self, step: str) -> None:
        object.__setattr__(self, "_step", step)

    def fail(self, *_: Any, **__: Any) -> NoReturn:
        """Raise `UnknownValue`."""
        raise UnknownValue(frozenset({self._step}))

    def __getattr__(self, name: str) -> NoReturn:
        if name.startswith("__"):
            raise AttributeError(name)  # copying and pickling ask for these; a template cannot
        self.fail()

    def __repr__(self) -> str:
        return f"Unknown({self._step!r})"

    __str__ = __bool__ = __int__ = __float__ = __len__ = __iter__ = __hash__ = fail
    __call__ = __getitem__ = __contains__ = __eq__ = __ne__ = fail
    __lt__ = __le__ = __gt__ = __ge__ = __neg__ = __pos__ = __abs__ = __index__ = fail
    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __pow__ = __rpow__ = fail
    __truediv__ = __rtruediv__ = __floordiv__ = __rfloordiv__ = __mod__ = __rmod__ = fail
    __format__ = __reversed__ = fail


MISTAKEN = Unknown("")
"""What stands for a value that a mistake leaves open, while other mistakes are looked for."""
