"""What a detector loads to score: everything but torch."""

import subprocess
import sys

SCORING = """
import sys
import numpy as np
from metricwatch.algorithms import FAMILIES
from metricwatch.artifact import unpack
from metricwatch.scoring import Scoring
bank = FAMILIES["zscore"].fresh(3, step=60)
scoring = Scoring.fresh(bank.streams, 3, step=60)
scoring.score(0, bank.step(0, np.zeros(3)).evidence[..., None])
print(sorted({name.split(".")[0] for name in sys.modules}))
"""


def test_restoring_and_scoring_load_neither_torch_nor_pandas() -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCORING], capture_output=True, text=True, check=True
    )
    assert "numpy" in done.stdout
    for heavy in ("torch", "pandas", "optuna", "sklearn", "scipy"):
        assert f"'{heavy}'" not in done.stdout
