"""What a run took of its machine."""

import sys

import pytest
import torch

from manyviews.machine import PeakMemory


@pytest.mark.skipif(sys.platform != "linux" or torch.cuda.is_available(), reason="reads Linux's own account")
def test_the_peak_is_what_was_in_use_at_most_since_then() -> None:
    torch.ones(64 * 2**20, dtype=torch.uint8)  # freed before anybody looks
    memory = PeakMemory()
    before = memory.mib()
    assert before is not None and before < 32
    held = torch.ones(96 * 2**20, dtype=torch.uint8)
    del held
    after = memory.mib()
    assert after is not None and 90 <= after - before < 160
