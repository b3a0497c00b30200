"""Commands that learn: pretrain, resume."""

import re
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Annotated, Any

from manyviews.cli.shared import figures_table, parse, positional, print_json, tell, typed
from manyviews.errors import ManyviewsError


@dataclass(frozen=True, kw_only=True)
class Run:
    """What is asked of a run beside its method and recipe."""

    out: Path | None = None  # the run's folder; if not given, the next free one under runs/
    data_root: Path | None = None  # folder of named sets; if not given, MANYVIEWS_DATA or the user's cache
    baselines: tuple[str, ...] = ("pixels", "random")  # what else to judge: pixels, random, supervised
    devices: int = 1  # processes to train with, one per GPU (or per share of the CPU)
    workers: int = 2  # processes per device that decode images which do not fit into memory
    save_every: float = 30.0  # seconds between checkpoints
    judged: bool = True  # --no-judged: end with the encoder, without figures and report; resume adds these
    epochs: int | None = None  # --epochs 5 is short for --budget 5ep
    init_from: Path | None = None  # run or encoder.safetensors to start from, with its weights, net and size
    overwrite: bool = False  # replace the run that --out names, if there is one
    quiet: bool = False  # no progress bar
    json: bool = False  # print one JSON object


def pretrain_command(words: list[str]) -> None:
    from manyviews import plan
    from manyviews.method import find, names

    if not words or words[0].startswith("-"):
        if words and words[0] not in ("-h", "--help"):
            raise ManyviewsError(
                f"Say the method first: manyviews pretrain METHOD. METHOD is one of {', '.join(names())}, or the path of a method file of your own."
            )
        print(
            f"manyviews pretrain METHOD [...]; manyviews pretrain METHOD --help tells more\n\n{_methods_list()}"
        )
        return
    paper = find(words[0])
    wanted = _peek(words, "--recipe")
    data = _peek(words, "--data") or plan.default_data(paper, wanted)
    config, recipe = plan.base(paper, data, wanted)
    flags = ["recipe", *(field.name for one in (config, recipe, Run()) for field in fields(one))]
    ask = parse(
        _pretrain_flags(paper, config, recipe, plan.recipe_name(paper, plan.sensed(paper, data), wanted)),
        words[1:],
        f"pretrain {paper.name}",
        unknown=lambda name: plan.unknown_setting(paper, name.removeprefix("no_"), flags),
    )
    changes = _changes(ask.config, config) | _changes(ask.recipe, recipe)
    changes.pop("data", None)
    # What --init-from would bring along holds as it is said, even where it is the recipe's own.
    for name in ("net", "size"):
        if _peek(words, f"--{name}") is not None:
            changes[name] = getattr(ask.recipe, name)
    asked = asdict(ask.run)
    as_json = asked.pop("json")
    if (epochs := asked.pop("epochs")) is not None:
        changes["epochs"] = epochs
        if (budget := _peek(words, "--budget")) is not None:  # also where it is the recipe's own
            changes["budget"] = budget
    from manyviews.learn import pretrain

    if not asked["quiet"] and (said := _slow(paper, data, wanted, changes)):
        tell(said)
    run = pretrain(words[0], data, recipe=wanted, command=typed("pretrain", words), **asked, **changes)
    _finished(run, as_json)


def _slow(paper: Any, data: str, wanted: str | None, changes: dict[str, Any]) -> str | None:
    """What to do where the recipe that nobody chose is too much for the machine."""
    import torch

    from manyviews import plan

    named = plan.recipe_name(paper, plan.sensed(paper, data), wanted)
    if torch.cuda.is_available() or wanted is not None or named != plan.USUAL["images"] or "net" in changes:
        return None
    return f"The recipe {named} is for a GPU, and here is none: --recipe world is many times quicker."


def _pretrain_flags(paper: Any, config: Any, recipe: Any, named: str) -> Any:
    from dataclasses import field, make_dataclass

    import tyro

    def flags(kind: type, default: Any) -> Any:
        return Annotated[kind, tyro.conf.arg(name=""), tyro.conf.OmitArgPrefixes], default

    run_type, run = flags(Run, Run())
    config_type, config = flags(type(config), config)
    recipe_type, recipe = flags(type(recipe), recipe)
    made = make_dataclass(
        "Pretrain",
        [
            ("config", config_type, field(default=config)),
            ("recipe", recipe_type, field(default=recipe)),
            ("run", run_type, field(default=run)),
            (
                "start_from",
                Annotated[str, tyro.conf.arg(name="recipe", help=_recipes_help(paper))],
                named,
            ),
        ],
    )
    made.__doc__ = re.sub(
        r"\n(?=[A-Z]\w+ {2})", "\n\n", paper.module.__doc__ or ""
    )  # a paragraph each, not one
    return made


def _recipes_help(paper: Any) -> str:
    return f"recipe that sets the defaults here; if not given, the data's: {', '.join(paper.recipes)}"


def _changes(after: Any, before: Any) -> dict[str, Any]:
    pairs = {
        field.name: (getattr(after, field.name), getattr(before, field.name)) for field in fields(before)
    }
    return {name: new for name, (new, old) in pairs.items() if new != old}


def _peek(words: list[str], flag: str) -> str | None:
    """The value of a flag that decides which defaults the others have: the last one given."""
    found = None
    for word, following in zip(words, [*words[1:], None], strict=True):
        if word == flag and following is not None:
            found = following
        if word.startswith(f"{flag}="):
            found = word.partition("=")[2]
    return found


def _finished(run: Any, as_json: bool) -> None:
    """Say what came out, once: under torchrun every process gets here."""
    from manyviews import distributed

    if not distributed.is_main():
        return
    figures, said = run.results().get("figures", {}), run.verdict()
    report = [f"report   {run.path / 'report.html'}"] if run.judged else []
    if as_json:
        verdict = said and said.as_dict()
        print_json({"run": str(run.path), "figures": figures, "verdict": verdict, "last": run.metrics()[-1]})
        return
    from rich.console import Console

    if figures:
        Console().print(figures_table(figures))
    if said:
        print(said)
    print("\n".join([*report, f"encoder  {run.path / 'encoder.safetensors'}"]))


def resume_command(words: list[str]) -> None:
    @dataclass(frozen=True)
    class Resume:
        """Continue a run after Ctrl-C, kill -9 or a power cut."""

        run: positional(Path, "the run's folder")  # pyright: ignore[reportInvalidTypeForm]
        data: str | None = None  # where the data are now; if not given, where they were
        data_root: Path | None = None  # folder of the named sets now; if not given, where it was
        devices: int = 1  # processes to train with, one per GPU (or per share of the CPU)
        workers: int = 2  # processes per device that decode images which do not fit into memory
        save_every: float = 30.0  # seconds between checkpoints
        judged: bool = True  # --no-judged: end with the encoder, without figures and report
        quiet: bool = False  # no progress bar
        json: bool = False  # print one JSON object

    asked = asdict(parse(Resume, words, "resume"))
    path, as_json = asked.pop("run"), asked.pop("json")
    from manyviews.learn import resume

    _finished(resume(path, **asked), as_json)


def _methods_list() -> str:
    from manyviews.method import titles

    return "\n".join(f"  {name:<12} {title}" for name, title in titles().items())
