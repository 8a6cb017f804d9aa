# SPDX-License-Identifier: Apache-2.0
"""The measurement of thresholds.csv, against error rates that are known in closed form, in place of a modem's."""

from __future__ import annotations

import csv
import math
import sys
from fractions import Fraction
from pathlib import Path
from statistics import NormalDist

import pytest

from semdiff.baselines import thresholds
from semdiff.baselines.modem import Scheme

SLOPE = 1.5  # of -ln(block error rate) by dB


class Known:
    """Stands for a modem: a block fails with probability exp(-SLOPE (snr - middle)), at most 1."""

    middle = 0.0

    def __init__(self, uses: int, scheme: Scheme) -> None:
        if scheme.rate == Fraction(5, 6):
            raise ValueError("uses: too few for this rate")


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch) -> type[Known]:
    def rate(modem: Known, snr_db: float, blocks: int, key: object) -> float:
        return min(1.0, math.exp(-SLOPE * (snr_db - modem.middle)))

    monkeypatch.setattr(thresholds, "Modem", Known)
    monkeypatch.setattr(thresholds, "block_error_rate", rate)
    return Known


@pytest.mark.parametrize(("efficiency", "uses"), [(0.4, 64), (2.0, 256), (5.0, 1024)])
def test_at_half_of_the_blocks_the_estimate_is_a_closed_form(efficiency: float, uses: int) -> None:
    """The dispersion then has no part: log2(1 + snr) + log2(n) / 2n = efficiency."""
    exact = 10 * math.log10(2 ** (efficiency - math.log2(uses) / (2 * uses)) - 1)
    assert thresholds.normal_approximation_db(efficiency, uses, 0.5) == pytest.approx(exact, abs=0.011)


@pytest.mark.parametrize("error_rate", [0.1, 0.01, 1e-4])
def test_the_estimate_of_long_blocks_is_the_capacity_and_of_fewer_errors_higher(error_rate: float) -> None:
    capacity = 10 * math.log10(2**2.0 - 1)
    assert thresholds.normal_approximation_db(2.0, 10**9, error_rate) == pytest.approx(capacity, abs=0.011)
    found = thresholds.normal_approximation_db(2.0, 128, error_rate)
    snr = 10 ** (found / 10)
    # At that SNR the normal approximation of the error rate is the one asked for.
    dispersion = snr * (snr + 2) / (snr + 1) ** 2 / math.log(2) ** 2
    z = (math.log2(1 + snr) - 2.0 + math.log2(128) / 256) / math.sqrt(dispersion / 128)
    assert 1 - NormalDist().cdf(z) == pytest.approx(error_rate, rel=0.06)
    assert found > capacity


@pytest.mark.parametrize("shift", [-6.3, -1.0, 0.0, 2.2, 7.7])
def test_a_known_curve_is_met_from_either_side(known: type[Known], monkeypatch: pytest.MonkeyPatch, shift: float) -> None:
    """The search begins at the estimate, too low or too high; ln of the rate is a line, so interpolation is exact."""
    scheme = Scheme(2, Fraction(1, 2))
    monkeypatch.setattr(known, "middle", thresholds.normal_approximation_db(scheme.efficiency, 64, 0.1) + shift)
    tenth, hundredth = thresholds.measure_thresholds(scheme, 64, 10**6)
    assert tenth == pytest.approx(known.middle + math.log(10) / SLOPE)
    assert hundredth == pytest.approx(known.middle + math.log(100) / SLOPE)


def test_the_command_writes_what_it_measured_and_tells_what_it_left_out(
    known: type[Known], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(thresholds, "RATES", {2: ("1/2",), 4: ("1/2", "5/6")})
    monkeypatch.setattr(sys, "argv", ["thresholds", str(tmp_path / "t.csv"), "--uses", "64", "--blocks", "4096"])
    monkeypatch.setattr(thresholds.torch, "set_num_threads", lambda count: None)
    thresholds.main()
    rows = list(csv.DictReader((tmp_path / "t.csv").read_text().splitlines()))
    assert [tuple(row[name] for name in thresholds.COLUMNS[:3]) for row in rows] == [("2", "1/2", "64"), ("4", "1/2", "64")]
    for row in rows:
        assert float(row["snr_db_10_percent"]) == pytest.approx(math.log(10) / SLOPE, abs=0.006)
        assert float(row["snr_db_1_percent"]) == pytest.approx(math.log(100) / SLOPE, abs=0.006)
        assert row["blocks"] == "4096"
    assert "64 uses, 4 bits, rate 5/6: left out (uses: too few for this rate)" in capsys.readouterr().out
