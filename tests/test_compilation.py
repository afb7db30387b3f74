"""Machine code is kept as long as nothing changes of which it is made."""

import importlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numba import njit, types
from numba.core.errors import TypingError

from sciml.native import loss_kernels, solve
from sciml.native.compilation import call
from sciml.native.dependencies import ROOT, digest, files
from sciml.native.preambles import PACK_PREAMBLE, PREAMBLE
from sciml.native.records import task_at

MODULES = {
    "sciml/__init__.py": "from sciml.native import far",
    "sciml/native/__init__.py": "",
    "sciml/native/near.py": "from sciml.native import middle\n",
    "sciml/native/middle.py": "import math\n\nfrom sciml.constants import (\n    A,\n    B,\n)\n",
    "sciml/constants.py": "A, B = 1, 2\n",
    "sciml/native/far.py": "C = 3\n",
}
SOURCE = "from sciml.native.near import f\n"


def written(folder: Path, **changes: str) -> Path:
    """A package of these files, with more text at the end of some."""
    for name, text in MODULES.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + changes.get(path.stem, ""))
    return folder


@pytest.mark.parametrize("changed", ["near", "middle", "constants"])
def test_code_is_compiled_anew_when_what_it_imports_changes(changed, tmp_path):
    before, after = written(tmp_path / "a"), written(tmp_path / "b", **{changed: "D = 4\n"})
    assert digest(SOURCE, before) != digest(SOURCE, after)


def test_code_is_kept_when_anything_else_changes(tmp_path):
    before, after = written(tmp_path / "a"), written(tmp_path / "b", far="D = 4\n")
    assert digest(SOURCE, before) == digest(SOURCE, after)
    assert digest(SOURCE + "D = 4\n", before) != digest(SOURCE, before)


def test_a_models_code_depends_on_no_stepper():
    names = {path.stem for path in files(PREAMBLE)}
    assert names == {"activations", "compilation", "dependencies", "packs", "routines", "vectors"}
    assert {path.stem for path in files(PACK_PREAMBLE)} - names == {"pack_vectors"}


@pytest.mark.parametrize("name", ["solve", "loss_kernels", "linearize", "scoring"])
def test_a_kernel_depends_on_every_file_whose_functions_it_calls(name):
    module = importlib.import_module(f"sciml.native.{name}")
    known = {path.relative_to(ROOT).with_suffix("").as_posix().replace("/", ".") for path in files(SOURCES[name])}
    waiting, used = [module], set()
    while waiting:
        for value in vars(waiting.pop()).values():
            home = getattr(value, "__module__", None)
            if isinstance(home, str) and home.startswith("sciml.native.") and home not in used:
                used.add(home)
                waiting.append(sys.modules[home])
    assert len(used) > 10
    assert used - {module.__name__} <= known
    assert "sciml.solvers.control" in known


SOURCES = {path.stem: path.read_text() for path in (ROOT / "sciml" / "native").glob("*.py")}

TWICE = """
from sciml.native.compilation import load_source
from sciml.native.preambles import PREAMBLE
source = PREAMBLE + "@value\\ndef field_value(t, y, p, u, tape, out):\\n    out[0] = -p[0] * y[0]\\n"
assert load_source(source) is load_source(source)
hits = load_source(source).field_value.cache_hits
print(hits)
"""


THREADS = """
import numpy as np, torch, sciml
torch.set_num_threads(1)
print(torch.get_num_threads())
sciml.simulate(sciml.models.lotka_volterra(), np.linspace(0, 1, 3), initial={"x": np.linspace(1, 2, 100)})
print(torch.get_num_threads())
"""


def test_parallel_kernels_leave_torch_its_number_of_threads():
    environment = {key: value for key, value in os.environ.items() if key != "OMP_NUM_THREADS"}
    found = subprocess.run([sys.executable, "-c", THREADS], env=environment, check=True, capture_output=True, text=True)
    assert found.stdout.split() == ["1", "1"]


def test_a_second_process_finds_the_code_of_a_model(tmp_path):
    def run() -> str:
        environment = {"SCIML_CACHE": str(tmp_path), "PATH": "/usr/bin:/bin"}
        return subprocess.run(
            [sys.executable, "-c", TWICE], env=environment, check=True, capture_output=True, text=True
        ).stdout.strip()

    assert [run(), run()] == ["0", "1"]


def test_the_index_of_a_parallel_loop_reaches_a_lane_as_an_integer():
    i, index = types.int64, types.uint64

    @njit([types.void(i, index, i)])
    def of_a_loss(address, lane, thread):
        loss_kernels.start_lane(task_at(address), lane, thread, 1)

    @njit([types.void(i, index, types.float64[:, :, ::1], types.float64[:, ::1])])
    def of_a_solve(address, lane, states, ends):
        solve.start_lane(task_at(address), lane, states, ends, 0)

    codes = [code for caller in (of_a_loss, of_a_solve) for code in caller.inspect_llvm().values()]
    assert len(codes) == 2
    assert not any("itofp" in code for code in codes)


@pytest.mark.parametrize("number", [np.uint64(1), np.int32(1), True, 1j], ids=str)
def test_compiled_code_passes_nothing_that_a_c_function_would_look_for_elsewhere(number):
    @njit
    def caller(address, number):
        call(address, (address, number))

    with pytest.raises(TypingError, match="a C function takes int64, float64 and pointers to float64, not"):
        caller(0, number)
