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
