"""What all exporters share: the registry's entry, refusal by name at the door, and files written whole or not at all."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from sciml.errors import ModelError, quoted
from sciml.storage import write_together
from sciml.symbolic.system import System

FEATURES = ("observables", "networks", "derivatives of networks", "events", "noise", "inputs", "jacobian", "priors")

BETWEEN = {
    "constant": "constant until the next sample",
    "linear": "linear between samples",
    "cubic": "a cubic spline through the samples",
}


@dataclass(frozen=True)
class Target:
    """A language that Systems can be exported to.

    Args:
        name: Of the function in `sciml.export`.
        title: Of the language.
        suffix: Usual for its files.
        export: The function `(system, path=None) -> text` (ONNX: bytes).
        holds: Which of `FEATURES` it can hold.
        needs: The distribution's extra that it needs.
    """

    name: str
    title: str
    suffix: str
    export: Callable[..., str | bytes]
    holds: frozenset[str]
    needs: str | None = None


def refuse(system: System, title: str, *missing: str) -> None:
    """Raise a ModelError for what a System has and a language lacks.

    Args:
        system: To be exported.
        title: Of the language.
        missing: Of "networks", "terminal events", "noise".
    """
    if "networks" in missing and system.learned:
        raise ModelError(
            f"{quoted(system.functions)} has no closed form, which {title} needs. Find one with `sciml.discover(fit)`, or "
            "replace it with `system.substitute({function: formula})`."
        )
    if "noise" in missing and system.noise:
        raise ModelError(
            f"{quoted(system.noise)} has a diffusion term, which {title} cannot hold: `replace(system, noise={{}})`."
        )
    if "terminal events" in missing:
        for event in system.events:
            if event.terminal:
                raise ModelError(
                    f"the event at `{event.condition}` = 0 is terminal, and {title} cannot end a simulation: leave it "
                    "out with `replace(system, events=...)`."
                )


def finish(text: str, path: str | Path | None) -> str:
    """The text, also written to a file where one is named."""
    if path is not None:
        write_together({Path(path): text.encode()})
    return text


def header(system: System, changed: Mapping[str, str]) -> list[str]:
    """Lines for the top of a file: equations and inputs in the user's own names, and the names that had to change."""
    lines = ["Differential equations:", "", *(f"    {x}' = {rhs}" for x, rhs in system.equations.items())]
    lines += [f"    {x} = {value}" for x, value in system.observed.items()]
    if system.inputs:
        lines += ["", "Inputs over time, given from outside:", ""]
        lines += [f"    {u}, {BETWEEN[how]}" for u, how in system.inputs.items()]
    if changed:
        lines += ["", "Names that had to change:", "", *(f"    {new} for {old!r}" for new, old in changed.items())]
    return lines
