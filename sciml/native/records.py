"""The records through which Python hands a fit to the kernels: sizes, settings, and addresses of arrays.

A kernel takes the address of one record, which costs as much as passing a number; every array would cost 0.1 µs, every
record array 0.3 µs. The arrays behind the addresses belong to the Python object that made the record.
"""

import numpy as np

from sciml.native.compilation import device, record_at
from sciml.native.routines import ROLES

_ROUTINES = [f"{role}_{part}" for role in ROLES for part in ("value", "vjp", "weights", "tape", "outputs")]
_SIZES = ["states", "parameters", "storage", "free", "coordinates", "runs", "rows", "lanes", "capacity", "max_steps"]
# Lanes are contiguous parts of the shots, which threads take; slots are pieces of memory to work in.
_SIZES += ["slots"]
_SIZES += ["shot_count", "column_count", "lane_floats_size", "slopes_size", "work_size", "width", "sets", "block"]
# Of packs: addresses of their code (0: none), lengths of a row of the tape and of cotangents, most steps that are kept,
# numbers of parameters and inputs, memory of a lane.
_PACKS = [
    "pack_value",
    "pack_vjp",
    "pack_weights",
    "pack_tape",
    "pack_cotangents",
    "pack_capacity",
    "scalars",
    "inputs",
]
_PACKS += ["pack_floats_size", "pack_integers_size"]
# Addresses of what the kernels share: `steps`, `shots`, `pack_trajectory`, a lane of `loss_kernels` or of `solve`.
_CALLS = ["step", "step_back", "solve_shot", "pull_back_shot", "run_wave", "integrate_packs", "run_lane"]
# Of events: addresses of the functions of `watch` and `resets`, the record's own address; how many events there are, most
# resets of a trajectory, rows of a lane's table, memory of a lane.
_EVENTS = ["look", "open_stretch", "meet", "meet_back", "address", "event_count", "max_resets", "hits", "watch_size"]
_ARRAYS = [
    "shots",
    "columns",
    "theta",  # the coordinates
    "method",  # packed coefficients
    "atol",  # absolute tolerance of each state
    "transforms",  # runs of coordinates, see `transforms.runs`
    "affine",  # rows a and b of the transforms
    "priors",  # rows mean and precision of the coordinates
    "continuity",  # weight of each state's gap between shots, and 1 where it is one of logarithms
    "numbers",  # `sets` blocks of p with its scratch, then the free initial values of all shots
    "shared",  # for each parameter and weight, 1 where all blocks have the same
    "slopes",  # for each lane, the gradient by `numbers`
    "initial",  # initial state of each shot
    "initial_slopes",  # its cotangent
    "gap_slopes",  # what the shot before adds to that
    "initial_tapes",
    "times",  # output times of all shots
    "data",  # measured values, one row per output time
    "levels",  # what multiplies the scale of each of them; 0 for ones
    "lane_steps",
    "lane_floats",
    "pack_integers",
    "pack_floats",
    "events",  # rows: signs of the conditions behind the events (0: both), what the events do
    "watches",
]

TASK = np.dtype(
    [(name, np.int64) for name in (*_ROUTINES, "prepare", *_SIZES, *_PACKS, *_CALLS, *_EVENTS, *_ARRAYS)]
    + [(name, np.float64) for name in ("rtol", "first_step", "largest_step", "constant")],
    align=True,
)

# One trajectory: where its rows of times and data begin, how many they are, where its free initial values lie in
# `numbers`, the addresses of its inputs and of its parameters, the pieces of its inputs (rows of `width`
# numbers, of which the second is the time where the piece begins), the shot that continues it (-1: none), and its
# initial time; then what became of it.
SHOT = np.dtype(
    [(name, np.int64) for name in ("first", "rows", "free", "inputs", "pieces", "numbers", "next", "status", "steps")]
    + [(name, np.float64) for name in ("start", "value", "reached", "tried")],
    align=True,
)

# One measured column: its likelihood, which outputs are its mean and scale (-1: none), the likelihood's constant.
COLUMN = np.dtype(
    [(name, np.int64) for name in ("code", "mean", "scale")] + [("constant", np.float64)],
    align=True,
)

task_at = record_at(TASK)
_shot_at, _column_at = record_at(SHOT), record_at(COLUMN)
_SHOT_BYTES, _COLUMN_BYTES = SHOT.itemsize, COLUMN.itemsize


@device
def shot_of(task, number):
    """The record of a shot."""
    return _shot_at(task.shots + _SHOT_BYTES * number)


@device
def column_of(task, number):
    """The record of a measured column."""
    return _column_at(task.columns + _COLUMN_BYTES * number)
