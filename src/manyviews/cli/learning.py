"""Commands that learn: pretrain, resume, compare."""

import re
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Annotated, Any

from manyviews.cli.shared import figures_table, parse, positional, print_json, tell, typed
from manyviews.errors import ManyviewsError


@dataclass(frozen=True, kw_only=True)
class Run:
    """What is asked of a run beside its method and recipe."""

    out: Path | None = None  # the run's folder; unless told, the next free one under runs/
    data_root: Path | None = None  # where named sets are; unless told, MANYVIEWS_DATA
    baselines: tuple[str, ...] = ("pixels", "random")  # judged beside the encoder: pixels, random, supervised
    devices: int = 1  # processes to train with
    workers: int = 2  # processes that decode images which do not fit into memory
    save_every: float = 30.0  # seconds between checkpoints
    epochs: int | None = None  # short for --budget
    init_from: Path | None = None  # a run whose encoder this one's begins as; unless told, a random one
    overwrite: bool = False  # replace a run that is there
    json: bool = False  # print one JSON object


def pretrain_command(words: list[str]) -> None:
    from manyviews import plan
    from manyviews.method import find, names

    if not words or words[0].startswith("-"):
        if words and words[0] not in ("-h", "--help"):
            raise ManyviewsError(
                f"Say the method first: manyviews pretrain METHOD; there are {', '.join(names())}."
            )
        print(
            f"manyviews pretrain METHOD [...]; manyviews pretrain METHOD --help tells more\n\n{_methods_list()}"
        )
        return
    paper = find(words[0])
    wanted = _peek(words, "--recipe")
    data = _peek(words, "--data") or plan.default_data(paper, wanted)
    config, recipe = plan.base(paper, data, wanted)
    ask = parse(_pretrain_flags(paper, config, recipe), words[1:], f"pretrain {paper.name}")
    changes = _changes(ask.config, config) | _changes(ask.recipe, recipe)
    changes.pop("data", None)
    asked = asdict(ask.run)
    as_json = asked.pop("json")
    if (epochs := asked.pop("epochs")) is not None:
        changes["epochs"] = epochs
    from manyviews.learn import pretrain

    run = pretrain(paper.name, data, recipe=wanted, command=typed("pretrain", words), **asked, **changes)
    _finished(run, as_json)


def _pretrain_flags(paper: Any, config: Any, recipe: Any) -> Any:
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
                Annotated[str | None, tyro.conf.arg(name="recipe", help="the recipe to start from")],
                None,
            ),
        ],
    )
    made.__doc__ = re.sub(
        r"\n(?=[A-Z]\w+ {2})", "\n\n", paper.module.__doc__ or ""
    )  # a paragraph each, not one
    return made


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
    figures = run.results().get("figures", {})
    if as_json:
        print_json({"run": str(run.path), "figures": figures, "last": run.metrics()[-1]})
        return
    from rich.console import Console

    Console().print(figures_table(figures))
    print(f"report   {run.path / 'report.html'}\nencoder  {run.path / 'encoder.safetensors'}")


def resume_command(words: list[str]) -> None:
    @dataclass(frozen=True)
    class Resume:
        """Continue a run after Ctrl-C, kill -9 or a power cut."""

        run: positional(Path, "the run's folder")  # pyright: ignore[reportInvalidTypeForm]
        devices: int = 1  # processes to train with
        workers: int = 2  # processes that decode images which do not fit into memory
        save_every: float = 30.0  # seconds between checkpoints
        json: bool = False  # print one JSON object

    ask = parse(Resume, words, "resume")
    from manyviews.learn import resume

    _finished(resume(ask.run, devices=ask.devices, workers=ask.workers, save_every=ask.save_every), ask.json)


def compare_command(words: list[str]) -> None:
    @dataclass(frozen=True)
    class Compare:
        """Give methods the same data, net, budget and seeds, and print one honest table."""

        methods: positional(tuple[str, ...], "names; none: as --all") = ()  # pyright: ignore[reportInvalidTypeForm]
        all: bool = False  # every method that learns from such data without labels
        data: str = "world"  # labelled images: labels are for judging only
        budget: str | None = None  # the length of each run: 10m, 20ep ...
        seeds: int = 3  # runs a method
        net: str | None = None  # for all; unless told, that of most of their recipes (of texts each its own)
        size: int | None = None  # side of a view in pixels, or tokens of a text, for all
        batch: int | None = None  # for all; unless told, each method's own
        out: Path | None = None  # folder; a comparison that stopped goes on there
        data_root: Path | None = None  # where named sets are
        jobs: int = 1  # runs side by side, each with its share of the cores
        json: bool = False  # print one JSON object

    ask = parse(Compare, words, "compare")
    from manyviews.comparing import compare

    if ask.all and ask.methods:
        raise ManyviewsError(
            f"Compare either all methods or {', '.join(ask.methods)}: leave out one of the two."
        )
    asked = {
        name: value for name, value in vars(ask).items() if name not in ("methods", "all", "data", "json")
    }
    result = compare(ask.methods, ask.data, say=tell, command=typed("compare", words), **asked)
    if ask.json:
        print_json(result)
        return
    from rich.console import Console
    from rich.table import Table

    columns = list(dict.fromkeys(key for row in result["methods"].values() for key in row))
    table = Table("", *columns)
    for name, row in result["methods"].items():
        table.add_row(name, *(_mean_std(key, row.get(key)) for key in columns))
    for name, row in result["baselines"].items():
        table.add_row(name, *(f"{row[key]:.1%}" if key in row else "" for key in columns))
    Console().print(table)
    print(f"report   {Path(result['out']) / 'report.html'}")


def _mean_std(name: str, value: dict[str, Any] | None) -> str:
    if value is None:
        return ""
    share = "top-1" in name
    form = (lambda x: f"{x:.1%}") if share else (lambda x: f"{x:,.0f}")
    return form(value["mean"]) if value["std"] is None else f"{form(value['mean'])} ± {form(value['std'])}"


def _methods_list() -> str:
    from manyviews.method import titles

    return "\n".join(f"  {name:<12} {title}" for name, title in titles().items())
