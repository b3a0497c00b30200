"""The loop stops where it must, keeps what is good, and its monitor sees a collapse."""

import dataclasses
import signal
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from manyviews import distributed
from manyviews.data import ItemSet, in_memory
from manyviews.data.world import world
from manyviews.errors import ManyviewsError
from manyviews.method import Batch, Out, Spec, find
from manyviews.nets import Encoder, ResNet
from manyviews.nets.norms import SplitBatchNorm
from manyviews.nets.resnet import BasicBlock
from manyviews.recipe import Budget, Recipe
from manyviews.rng import generator
from manyviews.runs import net_factory
from manyviews.training import checkpoint
from manyviews.training.hooks import Bar, Interrupt, Log, Saver
from manyviews.training.loop import Loop
from manyviews.training.monitor import MARKS, Monitor
from manyviews.training.progress import Length, Moment


def noise(items: int = 64, size: int = 16) -> ItemSet:
    pixels = torch.randint(0, 256, (items, 3, size, size), generator=generator("loop"), dtype=torch.uint8)
    return in_memory("noise", pixels, None, None)


def loop_of(
    name: str, recipe: Recipe, data: ItemSet, net: Callable[[], Encoder] | None = None, **config: object
) -> Loop:
    torch.manual_seed(0)
    paper = find(name)
    base, _ = paper.recipes["world"]
    spec = Spec(items=len(data), size=recipe.size)
    settings = dataclasses.replace(base, **config)
    return Loop(paper.method(settings, net or net_factory("cifar_resnet8", recipe.size), spec), data, recipe)


def recipe(**changes: object) -> Recipe:
    given = {"size": 16, "batch": 16, "budget": "6steps", "optimiser": "adamw", "lr": 1e-3} | changes
    return Recipe(**given)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize(
    ("text", "amount", "unit"),
    [("20m", 1200, "seconds"), ("2h", 7200, "seconds"), ("90s", 90, "seconds"), ("5ep", 5, "epochs"),
     ("10000steps", 10_000, "steps"), ("2M items", 2e6, "items"), ("1.5k items", 1500, "items"), ("3 epochs", 3, "epochs")],
)  # fmt: skip
def test_budgets_carry_units(text: str, amount: float, unit: str) -> None:
    assert Budget.parse(text) == Budget(amount, unit)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("text", ["20", "m", "", "5 parsecs", "-5ep", "0ep", "1e", "ten steps", "2Mm"])
def test_a_length_without_sense_is_refused(text: str) -> None:
    with pytest.raises(ManyviewsError, match="budget"):
        Budget.parse(text)


def test_lengths_become_steps() -> None:
    assert Length.of(recipe(budget="3ep"), epoch=4).steps == 12
    assert Length.of(recipe(budget="64 items"), epoch=4).steps == 4
    assert Length.of(recipe(budget="1items"), epoch=4).steps == 1
    assert Length.of(recipe(budget="2m"), epoch=4) == Length(None, 120.0)


def test_a_budget_in_seconds_ends() -> None:
    loop = loop_of("simclr", recipe(budget="1s"), noise())
    assert loop.run() == "finished"
    assert loop.step >= 1 and loop.seconds >= 1


def test_a_loss_that_is_not_finite_stops_and_names_the_batch(tmp_path: Path) -> None:
    data = noise()
    loop = loop_of("simclr", recipe(), data)
    own, saver = loop.method.loss, Saver(tmp_path, every=0)

    def poisoned(batch: Batch, progress: float) -> Out:
        out = own(batch, progress)
        return Out(out.loss * float("nan")) if loop.step == 3 else out

    loop.method.loss = poisoned  # pyright: ignore[reportAttributeAccessIssue]
    loop.hooks = (saver,)
    with pytest.raises(
        ManyviewsError, match=r"loss of step 4 is nan, on a batch beginning with noise/0000\d\d"
    ):
        loop.run()
    state, _ = checkpoint.newest(tmp_path)
    assert state is not None and state["step"] <= 3
    assert all(torch.isfinite(w).all() for w in state["method"].values() if w.is_floating_point())


def test_the_first_step_is_saved_and_the_others_in_their_time(tmp_path: Path) -> None:
    for budget, saved in (("2steps", [1, 2]), ("4steps", [2, 4])):  # the second finds what the first left
        loop = loop_of("simclr", recipe(budget=budget), noise())
        if state := checkpoint.newest(tmp_path)[0]:
            loop.restore(state)
        loop.hooks = (Saver(tmp_path),)
        loop.run()
        assert sorted(int(path.name.split("-")[1]) for path in checkpoint.listed(tmp_path)) == saved


def test_what_could_not_be_read_is_not_forgotten_by_a_run_that_goes_on() -> None:
    first, second = (loop_of("simclr", recipe(), noise()) for _ in range(2))
    first.skipped.miss("torn.png", "torn.png is damaged.")
    second.restore(first.state())
    assert second.skipped.as_dict() == {"count": 1, "files": {"torn.png": "torn.png is damaged."}}


def test_a_second_ctrl_c_stops_at_once_and_a_second_sigterm_does_not() -> None:
    for number, at_once in ((signal.SIGTERM, False), (signal.SIGINT, True)):
        said: list[str] = []
        with Interrupt(said.append) as interrupt:
            assert signal.getsignal(number) == interrupt._asked
            assert not interrupt()
            signal.raise_signal(number)
            assert interrupt() and len(said) == 1 and "press Ctrl-C again" in said[0]
            with pytest.raises(KeyboardInterrupt) if at_once else nullcontext():
                signal.raise_signal(number)
        assert len(said) == 1
        assert signal.getsignal(number) != interrupt._asked


def test_a_run_that_nobody_listens_to_any_more_is_still_interrupted(monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(*_: object) -> None:
        raise BrokenPipeError

    monkeypatch.setattr("manyviews.training.hooks.os.write", gone)
    with Interrupt() as interrupt:
        signal.raise_signal(signal.SIGTERM)
        assert interrupt()


def test_where_there_is_no_terminal_the_bar_is_lines(capsys: pytest.CaptureFixture[str]) -> None:
    def moment(step: int, log: dict[str, object], ends: str | None = None) -> Moment:
        return Moment(
            step=step, epoch=0.0, progress=step / 4, seconds=float(step), items=16 * step, lr=0.1,
            loss=torch.tensor(2.5), log=log, whole=lambda: None, z=None, state=dict, ends=ends,  # pyright: ignore[reportArgumentType]
        )  # fmt: skip

    for quiet in (False, True):
        bar = Bar("simclr", quiet)
        bar(moment(2, {"verdict": "healthy", "knn": torch.tensor(0.5)}))
        bar(moment(4, {}, ends="finished"))
        bar.close()
        said = capsys.readouterr()
        assert said.out == ""
        assert said.err == ("" if quiet else "simclr 100%  loss 2.500  16 items/s  kNN 50.0%  healthy\n")


def test_a_batch_larger_than_the_data_is_refused() -> None:
    with pytest.raises(ManyviewsError, match="A batch of 128 is larger than the data: there are 64 items"):
        loop_of("simclr", recipe(batch=128), noise())


@pytest.mark.parametrize("batch", [2, 16])
def test_a_batch_that_gives_no_equal_share_to_each_device_is_refused(
    batch: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(distributed, "world_size", lambda: 3)
    with pytest.raises(ManyviewsError, match=f"A batch of {batch} does not divide among 3 devices"):
        loop_of("simclr", recipe(batch=batch), noise())


def test_pieces_of_one_item_are_refused_where_a_norm_wants_two() -> None:
    with pytest.raises(ManyviewsError, match="leaves 1 item to each device and piece"):
        loop_of("simclr", recipe(batch=8, accumulate=8), noise())
    loop_of(
        "moco", recipe(batch=8, accumulate=8), noise(), splits=1, queue=32
    )  # whose projection has no norm


def test_the_log_of_a_resumed_run_is_that_of_one_run(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text('{"step": 1}\n{"step": 2}\n{"step": 3}\n{"step": 4')
    Log(tmp_path, step=2)
    assert (tmp_path / "metrics.jsonl").read_text() == '{"step": 1}\n{"step": 2}\n'


def verdicts(name: str, steps: int = 60, **config: object) -> list[str]:
    """What the monitor said at each of its looks at so many steps on the world."""
    data = world(items=512, size=16)
    changes = {"budget": f"{steps}steps", "lr": 2e-3, "weight_decay": 0.0, "batch": 32}
    loop = loop_of(name, recipe(**changes), data, **config)
    said: list[str] = []

    def listen(moment: Moment) -> None:
        if "verdict" in moment.log:
            said.append(str(moment.log["verdict"]))

    loop.hooks = (Monitor(loop.method, data), listen)
    loop.run()
    return said


@pytest.mark.parametrize(
    ("name", "steps", "ablation"),
    [
        ("simsiam", 60, {"stop_gradient": False}),
        ("simsiam", 150, {"predictor": False}),
        ("byol", 60, {"predictor": False}),
        ("byol", 60, {"predictor": False, "momentum": 0.0}),
        ("dino", 60, {"head_norm": False, "centring": False}),
        ("dino", 150, {"head_norm": False, "sharpen": False}),
        ("swav", 60, {"sinkhorn": False}),
    ],
)
def test_where_the_paper_says_that_it_collapses_the_monitor_says_so(
    name: str, steps: int, ablation: dict[str, object]
) -> None:
    said = verdicts(name, steps, **ablation)
    assert len(said) == MARKS
    assert said[-1] == "collapsed"


@pytest.mark.parametrize(("cost", "looks"), [(0.0, MARKS), (1.0, MARKS), (40.0, 2)])
def test_looks_take_little_of_a_budget_in_seconds(
    cost: float, looks: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop, clock, steps, seen = loop_of("simclr", recipe(budget="120s"), noise()), 0.0, 0, 0

    def tick(moment: Moment) -> None:
        nonlocal clock, steps, seen
        clock, steps, seen = clock + 1 + cost * moment.looked, steps + 1, seen + moment.looked

    monkeypatch.setattr("manyviews.training.loop.time", SimpleNamespace(monotonic=lambda: clock))
    loop.hooks = (Monitor(loop.method, loop.data), tick)
    assert loop.run() == "finished"
    assert seen == looks
    assert steps >= 120 - max(MARKS, 0.1 * 120 + cost)


@pytest.mark.parametrize("name", ["simclr", "moco", "mocov2", "simsiam", "byol", "swav", "dino"])
def test_as_published_none_collapses(name: str) -> None:
    assert verdicts(name)[-1] in ("healthy", "plateaued")


@pytest.mark.parametrize("name", ["simclr", "moco", "byol"])
@pytest.mark.parametrize("changes", [{"precision": "bf16"}, {"clip": 1.0}, {"channels_last": False}], ids=str)
def test_options_of_a_recipe_do_what_they_say(name: str, changes: dict[str, object]) -> None:
    plain, changed = (loop_of(name, recipe(**more), noise()) for more in ({}, changes))
    losses: list[list[float]] = [[], []]
    for loop, found in zip((plain, changed), losses, strict=True):
        loop.hooks = (lambda moment, found=found: found.append(float(moment.loss)),)
        assert loop.run() == "finished"
    assert losses[1][0] == pytest.approx(losses[0][0], rel=0.02)
    assert losses[1] == pytest.approx(losses[0], rel=0.3)
    assert losses[1] != losses[0] or "channels_last" in changes
    kernels = [w for w in plain.method.encoder.parameters() if w.ndim == 4 and min(w.shape[1:3]) > 1]
    twins = [w for w in changed.method.encoder.parameters() if w.ndim == 4 and min(w.shape[1:3]) > 1]
    as_asked = changes.get("channels_last", True)
    assert all(w.is_contiguous(memory_format=torch.channels_last) for w in kernels) and kernels
    assert all(w.is_contiguous(memory_format=torch.channels_last) == as_asked for w in twins)


def test_a_batch_in_pieces_keeps_the_slices_of_its_statistics() -> None:
    slices: list[int] = []
    loop = loop_of("moco", recipe(batch=32, accumulate=2), noise(), splits=4)
    norm = next(module for module in loop.method.query.modules() if isinstance(module, SplitBatchNorm))
    norm.register_forward_pre_hook(
        lambda module, x: slices.append(len(x[0]) // (module.splits // module.pieces))
    )
    loop.run()
    assert set(slices) == {8}


def test_clipping_bounds_the_gradient() -> None:
    loop = loop_of("simclr", recipe(clip=1e-3), noise())
    loop._advance(next(loop._drawn()), 0.5)
    norm = torch.stack([w.grad.norm() for w in loop.method.parameters() if w.grad is not None]).norm()
    assert norm <= 1.001e-3


def test_a_set_that_stays_on_disk_is_streamed_and_watched() -> None:
    data = noise()
    assert data.values is not None
    pixels = data.values
    streamed = dataclasses.replace(data, values=None, read=lambda item: pixels[item])
    said: list[str] = []
    loop = loop_of("simclr", recipe(), streamed)
    loop.workers = 0
    loop.hooks = (Monitor(loop.method, streamed), lambda moment: said.append(moment.log.get("verdict", "")))
    assert loop.run() == "finished"
    assert any(said)


def test_a_compiled_encoder_learns_the_same() -> None:
    def net() -> Encoder:  # as small as one can be: what takes time is compiling
        return ResNet(BasicBlock, (1,), (8,), (1,), stem="cifar")

    losses: dict[bool, list[float]] = {}
    for compiled in (False, True):
        seen = losses[compiled] = []
        loop = loop_of("simclr", recipe(budget="3steps", compile=compiled), noise(), net)
        loop.hooks = (lambda moment, seen=seen: seen.append(float(moment.loss)),)
        loop.run()
    assert len(losses[True]) == 3
    torch.testing.assert_close(torch.tensor(losses[True]), torch.tensor(losses[False]), rtol=1e-3, atol=1e-3)


def test_every_step_has_its_own_draws_its_rate_and_its_hook() -> None:
    how = recipe(budget="8steps", optimiser="sgd", schedule="linear", warmup=0.25, lr=0.1)
    loop = loop_of("simclr", how, noise(32))
    kept, drawn, rates = next(loop.method.projector.parameters()), list[float](), list[float]()  # pyright: ignore
    before, own = kept.detach().clone(), loop.method.loss

    def drawing(batch: Batch, progress: float) -> Out:
        drawn.append(float(torch.rand(())))
        return own(batch, progress)

    def asked(progress: float) -> None:
        rates.append(loop.optimiser.param_groups[0]["lr"])
        kept.grad = None

    loop.method.loss, loop.method.before_step = drawing, asked  # pyright: ignore
    loop.run()
    assert len(set(drawn)) == 8 and torch.equal(kept, before)
    assert rates == pytest.approx([0, 0.05, 0.1, *(k / 60 for k in (5, 4, 3, 2, 1))])


def test_a_look_changes_nothing_and_compares_two_views_and_other_images() -> None:
    data, ends, monitors = world(items=64, size=16), [], []
    for watched in (False, True):
        loop = loop_of("simclr", recipe(), data)
        monitors.append(Monitor(loop.method, data))
        loop.hooks = (monitors[-1],) if watched else ()
        loop.run()
        ends.append({key: x.clone() for key, x in loop.method.state_dict().items()})
    assert all(torch.equal(ends[0][key], x) for key, x in ends[1].items())
    seen = monitors[1]
    assert len(seen.history) == 6 and all((look.alignment or 0) > 1e-9 for look in seen.history)
    assert len(seen.bank) == 48 and not set(seen.bank.tolist()) & set(seen.queries.tolist())


def test_a_run_that_goes_on_has_what_is_left_of_its_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = 0.0

    def tick(moment: Moment) -> None:
        nonlocal clock
        clock += 1

    monkeypatch.setattr("manyviews.training.loop.time", SimpleNamespace(monotonic=lambda: clock))
    first, second = (loop_of("simclr", recipe(budget="8s"), noise()) for _ in range(2))
    first.hooks = second.hooks = (tick,)
    first.interrupted = lambda: first.step == 5
    assert first.run() == "interrupted"
    second.restore(first.state())
    assert (
        second.run() == "finished" and second.step == 10
    )  # 9 had it not stopped; 14 were its time forgotten
