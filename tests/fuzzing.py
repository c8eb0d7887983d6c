"""How long fuzz tests look: half a minute of a core together, a minute beside others; or as long as is asked for."""

import os
import random
import time
from collections.abc import Callable

SECONDS = float(os.environ.get("CONVGRID_FUZZ_SECONDS", "10"))  # of the processor, for each kind of input
SEED = os.environ.get("CONVGRID_FUZZ_SEED", "0")


def fuzz(case: Callable[[random.Random], object], share: float = 1.0) -> int:
    """Try one case after another.

    Args:
        case: Anything that it raises is a defect, told with what makes the same case again.
        share: Of the time, where a kind of input has several tests.

    Returns:
        How many.
    """
    end, number = time.process_time() + share * SECONDS, 0
    while not number or time.process_time() < end:
        try:
            case(random.Random(f"{SEED} {number}"))
        except BaseException as error:
            error.add_note(f"CONVGRID_FUZZ_SEED={SEED}, case {number}")
            raise
        number += 1
    return number
