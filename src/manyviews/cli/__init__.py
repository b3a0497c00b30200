"""The same from the shell: ``manyviews pretrain simclr``. Commands call what `manyviews.api` offers."""

import errno
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from io import TextIOWrapper
from pathlib import Path

from manyviews.cli.shared import said
from manyviews.errors import ManyviewsError, nearest

CURES = {
    errno.ENOSPC: "free some space",
    errno.EDQUOT: "free some of your disk quota",
    errno.EROFS: "make this disk writable",
    errno.EMFILE: "allow more open files (ulimit -n)",
    errno.ENAMETOOLONG: "choose a shorter name",
    **dict.fromkeys((errno.EACCES, errno.EPERM), "give this user permission to read and write there"),
    **dict.fromkeys(
        (errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.ENXIO),
        "see to this disk, or to its network connection",
    ),
    errno.EISDIR: "name a file to write",
    **dict.fromkeys(
        (errno.ENOTDIR, errno.EEXIST), "a folder is needed here, but there is a file: name another place"
    ),
}  # what helps where a disk does not do what it is asked
USAGE = "manyviews COMMAND [...]; manyviews COMMAND --help tells more"


@dataclass(frozen=True)
class Command:
    """A command: what it is called, what it does in a line, and the module that runs it with the rest of the line."""

    name: str
    about: str
    module: str

    def run(self, words: list[str]) -> None:
        """Import what the command needs, only now, and run it."""
        getattr(import_module(f"manyviews.cli.{self.module}"), f"{self.name}_command")(words)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command and exit: 0 done, 2 bad input (one sentence on stderr), 130 interrupted and saved."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if isinstance(sys.stdout, TextIOWrapper):  # a file name may hold what no encoding can write
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        _run(words)
    except ManyviewsError as error:
        sys.exit(said(str(error), 2))
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(0)
    except OSError as error:
        if error.errno not in CURES:
            raise
        sys.exit(said(_of_disk(error), 2))
    except (MemoryError, RuntimeError) as error:
        if not (sentence := _of_memory(error)):
            raise
        sys.exit(said(sentence, 2))


def _of_memory(error: Exception) -> str:
    """What helps where memory was too short; nothing where it was something else."""
    told = str(error)
    if "DataLoader worker (pid" in told:  # it was killed; what it raises itself is told by "Caught ..."
        return (
            "A process that reads images was killed, most likely because memory ran out (in a container, the shared memory of "
            "/dev/shm): choose fewer --workers, or a smaller --batch."
        )
    of_torch = type(error).__name__ == "OutOfMemoryError" or "DefaultCPUAllocator" in told
    if isinstance(error, MemoryError) or of_torch:
        return (
            "Memory is too short for this. To train, choose a smaller --batch, take it in pieces (--accumulate 4), or choose a smaller net; "
            "to judge or embed, give fewer items at a time."
        )
    return ""


def _of_disk(error: OSError) -> str:
    """What a disk would not do, and what to do then."""
    file = "A file" if error.filename is None else str(error.filename)
    cure = CURES[error.errno or 0]
    runs = [folder for folder in Path(file).parents if (folder / "run.json").is_file()]
    again = f", then go on with `manyviews resume {shlex.quote(str(runs[0]))}`" if runs else ""
    return f"{file}: {error.strerror}; {cure}{again}."


def _run(words: list[str]) -> None:
    if not words or words[0] in ("-h", "--help", "help"):
        print(_overview())
        return
    if words[0] == "--version":
        from manyviews import __version__

        print(__version__)
        return
    known = {command.name: command for command in COMMANDS}
    if words[0] not in known:
        hint = nearest(words[0], known, f"there are {', '.join(known)}.")
        raise ManyviewsError(f"There is no command '{words[0]}'; {hint}")
    known[words[0]].run(words[1:])


def _overview() -> str:
    width = max(len(command.name) for command in COMMANDS)
    rows = [f"  {command.name:<{width}}  {command.about}" for command in COMMANDS]
    return "\n".join(["Learn from many views of the same thing.", "", USAGE, "", *rows])


COMMANDS = (
    Command(
        "pretrain", "learn an encoder from images, sounds or texts; judge it and write a report", "learning"
    ),
    Command("resume", "continue a run after Ctrl-C, kill -9 or a power cut", "learning"),
    Command("evaluate", "measure how good an encoder is: with labels, with few, or with none", "using"),
    Command("embed", "turn images, sounds or texts into vectors", "using"),
    Command("classify", "predict the class of every image, with the classifier that a run learned", "using"),
    Command("search", "find what is nearest to one image, sound or text", "using"),
    Command("translate", "translate texts, or a corpus of pairs, whose BLEU score is printed", "writing"),
    Command("write", "continue a text with a run that learned to predict the next token", "writing"),
    Command("prompt", "classify texts by prompting a next-token run: zero-, one- or few-shot", "writing"),
    Command(
        "export", "hand the encoder over to timm, torchvision, transformers, ONNX or safetensors", "using"
    ),
    Command("compare", "train several methods on the same budget, and print one honest table", "comparing"),
    Command("claims", "list the papers' claims, what each costs to test, and its last verdict", "claiming"),
    Command("claim", "run the experiment behind a claim, and say whether it holds", "claiming"),
    Command("methods", "list all methods and what tells them apart", "using"),
    Command("nets", "list all networks beside what their papers say, or show one part by part", "nets"),
    Command(
        "optimisers", "draw ten optimisers, each at its own rate, on one surface and one task", "optimisers"
    ),
)
