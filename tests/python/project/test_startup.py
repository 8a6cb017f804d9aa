# SPDX-License-Identifier: Apache-2.0
"""What is loaded when nothing is computed: not torch, not NumPy; and that what is used is there however it is imported."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = {"torch", "numpy", "diffusers", "accelerate", "PIL", "safetensors", "scipy", "matplotlib", "pandas", "torchmetrics", "tqdm"}
COMMANDS = ["demo", "transmit", "send", "receive", "impair", "train", "evaluate", "report", "diagnose", "export", "data", "info"]


def run(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_import_loads_nothing() -> None:
    assert run(f"import sys, semdiff; print(sorted({HEAVY} & set(sys.modules)))") == "[]\n"


def test_help_loads_nothing() -> None:
    """Of the program, and of every command."""
    pytest.importorskip("typer")
    code = f"""
import sys
from semdiff.cli import main
for command in ([], {", ".join(f"['{c}']" for c in COMMANDS)}):
    sys.argv = ["semdiff", *command, "--help"]
    try:
        main()
    except SystemExit as stopped:
        assert stopped.code == 0
    assert not {HEAVY} & set(sys.modules), (command, {HEAVY} & set(sys.modules))
"""
    said = run(code)
    assert all(f" {command} " in said for command in COMMANDS)


@pytest.mark.slow
@pytest.mark.parametrize(
    "code",
    [
        "import semdiff; semdiff.Key(1)",
        "from semdiff import AWGN",
        "from semdiff import *; AWGN(), build_info()",
        "import semdiff; semdiff.diffusion.matching.match",  # modules come with the names, as they always have
        "import semdiff.transmission.layout, semdiff; semdiff.AWGN",
        "import semdiff.rng, semdiff; semdiff.AWGN",
        "from semdiff import oracle, Key",
        "import torch, semdiff; torch.ops.semdiff.diffuse.default",
        "import semdiff, torch; semdiff.Key; torch.ops.semdiff.diffuse.default",
        "import semdiff; assert set(semdiff.__all__) <= set(dir(semdiff))",
        "import semdiff, inspect; inspect.getmembers(semdiff); inspect.unwrap(semdiff)",
        "import semdiff; assert not hasattr(semdiff, 'nothing')",
        "from semdiff.evaluation.channels import channel_classes; assert {'awgn', 'mimo', 'pilots'} <= set(channel_classes())",
    ],
)
def test_names_are_there_when_they_are_used(code: str) -> None:
    run(code)


@pytest.mark.slow
def test_a_link_loads_no_compiler() -> None:
    """In a command: neither torch's nor the parts of scipy that diffusers asks for, until they are used; then they are the real ones."""
    pytest.importorskip("diffusers")
    run("""
import sys, torch
from semdiff.cli.options import load_link, parse_model
link = load_link(parse_model("fashion-mnist"))
late = {"torch._dynamo", "scipy.stats", "scipy.integrate"}
flex_attention = "torch.nn.attention.flex_attention"  # which diffusers imports; that of torch 2.14 cannot do without sympy
if tuple(map(int, torch.__version__.split(".")[:2])) < (2, 14):
    late.add("sympy")
assert flex_attention in sys.modules
assert not late & set(sys.modules), late & set(sys.modules)
assert list(link.progress_bar([1, 2])) == [1, 2]
assert not late & set(sys.modules), late & set(sys.modules)

from diffusers import DPMSolverMultistepScheduler, LMSDiscreteScheduler
scheduler = LMSDiscreteScheduler(use_karras_sigmas=True)
scheduler.set_timesteps(5)
assert abs(sum(scheduler.get_lms_coefficient(2, 2, k) for k in range(2)) - float(scheduler.sigmas[3] - scheduler.sigmas[2])) < 1e-4
scheduler = DPMSolverMultistepScheduler(use_beta_sigmas=True)
scheduler.set_timesteps(5)
from scipy.stats import beta
assert not {"sympy"} & late & set(sys.modules) and beta.ppf(0.5, 1, 1) == 0.5

link.set_progress_bar_config(disable=True)
compiled = torch.compile(lambda x: x * len(list(link.progress_bar([1, 2]))), backend="eager")
assert compiled(torch.ones(2)).tolist() == [2, 2] and hasattr(torch._dynamo, "allow_in_graph")
try:
    torch.compile(lambda: link.progress_bar([1, 2]), backend="eager", fullgraph=True)()
except torch._dynamo.exc.Unsupported:
    pass
else:
    raise AssertionError("a function for which the compiler is disabled was traced")
""")


@pytest.mark.slow
def test_a_module_of_the_compiler_is_there_while_it_is_put_off() -> None:
    pytest.importorskip("diffusers")
    run("""
import sys
from semdiff.cli.late_imports import late_imports
import torch
sys.modules.pop("diffusers", None)
with late_imports():
    import torch._dynamo.config
    assert not torch._dynamo.config.verbose and not hasattr(sys.modules["torch._dynamo"], "allow_in_graph")
    assert callable(torch._dynamo.reset)
assert torch.compile(lambda x: 2 * x, backend="eager")(torch.ones(1)).item() == 2
""")
