"""The benchmark runs to its end; no time is asserted."""

import re
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "augment.py"


def test_augment_prints_the_ratios_of_both_sizes_and_says_where_kornia_is_missing() -> None:
    done = subprocess.run([sys.executable, str(SCRIPT), "--quick"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert [line.partition(" a batch")[0] for line in lines[::4]] == ["128 images of 3x32x32", "32 images of 3x150x150"]
    ratio = r"[\d,]+ images/s   convgrid is \d+\.\d\d times as fast \(half of the turns \d+\.\d\d to \d+\.\d\d\)"
    for ours, kornias, pillows in (lines[1:4], lines[5:8]):
        assert re.fullmatch(r"  convgrid +[\d,]+ images/s", ours)
        assert re.fullmatch(rf"  kornia +(not installed, left out: pip install kornia|{ratio})", kornias)
        assert re.fullmatch(rf"  Pillow +{ratio}", pillows)
    assert len(lines) == 8
