# SPDX-License-Identifier: Apache-2.0
"""Ctrl-C during one long operator is heard between its pieces: the operator does not run to its end first."""

from __future__ import annotations

import signal
import subprocess
import sys
import time

import pytest

LONG = {
    "fading": "semdiff.Rayleigh('fast')(torch.ones(1, 1, dtype=torch.complex64).expand(1, 1 << 25), 3.0, key)",
    "normal": "semdiff.normal((1 << 28,), key, torch.bfloat16)",
    "timestep": "schedule.timestep(torch.ones(1 << 24))",
    "steps": "semdiff.ddim_step(x, x, torch.full((1 << 23,), 9.0), torch.full((1 << 23,), 3.0), schedule)",
    "backward": "semdiff.reparameterize(y, y, key).sum().backward()",
}
SCRIPT = """
import signal, time, torch, semdiff
signal.signal(signal.SIGINT, signal.default_int_handler)  # which a parent in the background may have turned off
torch.set_num_threads(1)
key, schedule, x = semdiff.Key(1), semdiff.NoiseSchedule.scaled_linear(), torch.ones(1 << 23, 1)
y = torch.zeros(1).expand(1 << 27).to(torch.bfloat16).requires_grad_() if {needs_y} else None
begun = time.perf_counter()
try:
    print("ready", flush=True)
    {call}
    print("done", time.perf_counter() - begun)
except KeyboardInterrupt:
    print("interrupted", time.perf_counter() - begun)
"""


@pytest.mark.slow
@pytest.mark.parametrize("name", LONG)
def test_ctrl_c_stops_a_long_operator(name: str) -> None:
    script = SCRIPT.format(call=LONG[name], needs_y=name == "backward")
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as run:
        assert run.stdout is not None
        assert run.stdout.readline() == "ready\n"
        time.sleep(0.1)
        run.send_signal(signal.SIGINT)
        out, error = run.communicate(timeout=120)
    assert out.startswith("interrupted"), out + error
    assert run.returncode == 0
