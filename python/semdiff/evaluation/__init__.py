# SPDX-License-Identifier: Apache-2.0
"""Compare systems at equal bandwidth: `sweep` runs and keeps, `Results` is the table, `plots` and `report.write_report` show it.

`diagnose` says beforehand whether a denoiser can help. Needs the extra semdiff-torch[eval]; the default link also needs [models].
"""

from semdiff.evaluation import plots
from semdiff.evaluation.config import Config
from semdiff.evaluation.diagnosis import Diagnosis, diagnose, diagnose_link
from semdiff.evaluation.results import Results
from semdiff.evaluation.sweep import sweep
from semdiff.evaluation.systems import SYSTEMS

__all__ = ["SYSTEMS", "Config", "Diagnosis", "Results", "diagnose", "diagnose_link", "plots", "sweep"]
