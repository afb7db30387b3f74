"""A model's routines as generated code: what `native_backend` and `pack_backend` print, put together."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from sciml.lowering.native_backend import Routine
from sciml.lowering.pack_backend import packed
from sciml.lowering.program import Program
from sciml.native.model import Model
from sciml.native.networks import Perceptron, aligned
from sciml.native.preambles import PREAMBLE


def native_model(
    programs: Mapping[str, Program],
    networks: Sequence[tuple[tuple[int, ...], tuple[str, ...]]],
    free: int,
    reverse: Collection[str] = ("field", "observables", "initial"),
    events: tuple[tuple[int, int], ...] = (),
) -> Model:
    """Generated code for a model's routines.

    Args:
        programs: `field`, `observables`, `initial`, for stiff methods `jacobian`, and those of `event_programs` -> Program;
            all with the same parameters and networks.
        networks: Widths, from input to output, and activations, one per layer, of each network.
        free: Number of free initial values of one trajectory.
        reverse: Which routines get their reverse pass; a simulation does without any and compiles faster, and the
            gradient through a linearly implicit method needs that of the `jacobian`, too.
        events: From `event_kinds`.

    Raises:
        ModelError: A function without native form, or a derivative of a network beyond the second.
    """
    scalars = programs["field"].parameters
    perceptrons, start = [], scalars
    for k, (widths, activations) in enumerate(networks):
        perceptrons.append(Perceptron(f"network{k}", widths, activations, start, 0))
        start += perceptrons[-1].parameters
    parameters, copies = start, aligned(start)
    placed = []
    for network in perceptrons:
        placed.append(replace(network, copies=copies))
        copies += aligned(network.scratch)
    routines = {role: Routine(role, program, placed, role in reverse) for role, program in programs.items()}
    parts = [PREAMBLE, *(network.source() for network in placed), *(routine.source() for routine in routines.values())]
    if placed:
        parts.append("\n".join(["@prepare", "def prepare(p):", *(f"    {n.name}_prepare(p)" for n in placed)]) + "\n")
    return Model(
        source="\n\n".join(parts),
        states=programs["field"].states,
        parameters=parameters,
        storage=copies,
        free=free,
        outputs={role: len(program.results) for role, program in programs.items()},
        tapes={role: routine.layout.width for role, routine in routines.items()},
        packed=packed(routines["field"]),
        events=events,
    )
