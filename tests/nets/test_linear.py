"""The linear layer of a single row against torch's."""

import pytest
import torch
from torch import Tensor

from manyviews.nets import linear as module
from manyviews.nets.linear import LARGE, ROWS, Linear, linear


def numbers(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("outputs", [1024, 1024 + 1, 1024 + ROWS - 1])
@pytest.mark.parametrize("shape", [(1, 256), (1, 1, 256), (256,)])
def test_one_row_gives_what_torch_gives(shape: tuple[int, ...], outputs: int, bias: bool) -> None:
    x, weight, b = numbers(*shape), numbers(outputs, 256), numbers(outputs) if bias else None
    assert weight.numel() >= LARGE
    with torch.no_grad():
        torch.testing.assert_close(
            linear(x, weight, b), torch.nn.functional.linear(x, weight, b), rtol=1e-4, atol=1e-4
        )


def test_a_row_that_lies_inside_another_tensor_is_read_where_it_lies() -> None:
    x_BTD, layer = numbers(1, 3, 256), Linear(256, 1024)
    with torch.no_grad():
        last = layer(x_BTD[:, -1])
        torch.testing.assert_close(last, layer(x_BTD)[:, -1], rtol=1e-4, atol=1e-4)
        column = numbers(256, 2)[:, 1]  # every second number
        torch.testing.assert_close(layer(column), layer(column.repeat(2, 1))[0], rtol=1e-4, atol=1e-4)


def test_gradients_and_other_kinds_of_work_take_torchs_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ROWS", 0)  # ours would divide by it
    x, weight = numbers(1, 256), numbers(1024, 256).requires_grad_()
    linear(x, weight).sum().backward()
    assert weight.grad is not None
    with torch.no_grad():
        linear(numbers(2, 256), weight)
        linear(x[:, :8], weight[:, :8])
        with torch.autocast("cpu", torch.bfloat16):
            assert linear(x, weight).dtype == torch.bfloat16
        with pytest.raises(ZeroDivisionError):
            linear(x, weight)
