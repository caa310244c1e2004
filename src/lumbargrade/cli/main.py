"""The `lumbargrade` command: finds the subcommand, parses options, turns errors into exit codes.

Only the module of the given command is imported, so that `--help` and the light commands start at
once.
"""

from __future__ import annotations

import importlib
import io
import logging
import os
import sys
from collections.abc import Sequence
from types import ModuleType

from lumbargrade import __version__
from lumbargrade.domain.errors import LumbargradeError, UsageError
from lumbargrade.files.printing import PrintableFormatter, printable, printable_stdout

#: Commands by purpose, in the order of use: title -> name -> (module, summary).
GROUPS: dict[str, dict[str, tuple[str, str]]] = {
    "Grade studies": {
        "demo": (
            "demo",
            "grade a synthetic study with the starter: what the program does, in a minute",
        ),
        "inspect": (
            "inspect",
            "describe a DICOM folder or data set, and list what is wrong with it",
        ),
        "grade": ("grade", "grade DICOM studies: a report for each, findings, DICOM results"),
        "review": ("review", "apply a reader's decisions to the results of a study"),
        "serve": (
            "serve",
            "be a DICOM node: grade the studies that a PACS sends, and send the results back",
        ),
    },
    "Check and calibrate on your own studies": {
        "selftest": (
            "selftest",
            "grade a study stored in other ways, and mirrored, and compare the findings",
        ),
        "evaluate": ("evaluate", "measure results against the reference grades of your own cohort"),
        "recalibrate": (
            "recalibrate",
            "fit the calibration to your own graded studies, without training",
        ),
    },
    "Train models": {
        "phantom": ("phantom", "write a synthetic data set in the LSDC layout"),
        "demo-train": ("demo_train", "train the whole system at small scale on synthetic studies"),
        "audit": ("audit", "find labels that are probably wrong, and propose corrections"),
        "prepare": ("prepare", "convert a DICOM data set to a volume store with training tables"),
        "recipes": ("recipes", "list the recipes, or show one"),
        "train": ("train", "train a recipe on one or more folds"),
        "validate": ("validate", "predict out of fold; report scores, point errors and ensembles"),
        "blend": ("blend", "fit weights and calibration to out-of-fold predictions"),
    },
    "Take part in the Kaggle competition": {
        "submit": ("submit", "predict an LSDC data set and write the submission"),
        "score": ("score", "compute the official and local scores of a submission"),
        "combine": ("combine", "average submission files"),
        "kaggle-kit": (
            "kaggle_kit",
            "build a dataset and a notebook that submit to the competition without a network",
        ),
    },
    "Files and formats": {
        "import-weights": ("import_weights", "convert a published checkpoint to a model folder"),
        "export": ("export", "write a model to a file that other programs read"),
        "package-starter": (
            "package_starter",
            "write trained networks of the starter as ONNX files with their manifest",
        ),
        "schema": ("schema", "print the JSON Schema of findings.json or of a review"),
    },
}

COMMANDS = {name: command for group in GROUPS.values() for name, command in group.items()}

OK, SOME_FAILED, USAGE, NOTHING_DONE = 0, 1, 2, 3


def help_text() -> str:
    width = max(map(len, COMMANDS))
    groups = "\n\n".join(
        f"{title}:\n" + "\n".join(f"  {name:<{width}}  {line}" for name, (_, line) in group.items())
        for title, group in GROUPS.items()
    )
    return (
        "usage: lumbargrade COMMAND [options]\n\n"
        "Grades lumbar-spine MRI: canal, foraminal and subarticular stenosis at five levels.\n"
        "Research software, not a medical device.\n\n"
        f"{groups}\n\n"
        "`lumbargrade COMMAND --help` explains a command.\n"
        "exit codes: 0 success, 1 some inputs failed (they are named), 2 wrong usage, "
        "3 nothing could be done\n"
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code.

    Args:
        argv: the arguments after the program's name; ``sys.argv`` when None.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(help_text(), end="")
        return OK if arguments else USAGE
    if arguments[0] in ("-V", "--version"):
        print(f"lumbargrade {__version__}")
        return OK
    name, *rest = arguments
    if name not in COMMANDS:
        print(f"lumbargrade: unknown command {name!r}\n\n{help_text()}", end="", file=sys.stderr)
        return USAGE
    logs = logging.StreamHandler(sys.stderr)
    logs.setFormatter(PrintableFormatter("%(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[logs])
    if isinstance(sys.stdout, io.TextIOWrapper):
        # File names may hold bytes that are not text, or characters that the terminal cannot show.
        sys.stdout.reconfigure(errors="backslashreplace")
    return _run(name, importlib.import_module(f"lumbargrade.cli.{COMMANDS[name][0]}"), rest)


def _run(name: str, command: ModuleType, arguments: Sequence[str]) -> int:
    import tyro

    from lumbargrade.cli.places import LOCAL_PATHS
    from lumbargrade.files.extras import needs_extra

    defaults = getattr(command, "defaults", None)
    try:
        default = defaults(arguments) if defaults else None
        options = tyro.cli(
            type(default) if default else command.Options,
            args=arguments,
            default=default,
            prog=f"lumbargrade {name}",
            description=command.__doc__,
            registry=LOCAL_PATHS,
        )
        with needs_extra(f"`lumbargrade {name}`"), printable_stdout():
            return int(command.run(options))
    except SystemExit as stop:
        return int(stop.code or 0)
    except UsageError as error:
        print(printable(f"lumbargrade {name}: {error}"), file=sys.stderr)
        return USAGE
    except LumbargradeError as error:
        print(printable(f"lumbargrade {name}: {error}"), file=sys.stderr)
        return NOTHING_DONE
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OK
    except OSError as error:
        where = f": {error.filename}" if error.filename else ""
        what = printable(f"{error.strerror or error}{where}")
        print(f"lumbargrade {name}: {what}", file=sys.stderr)
        return NOTHING_DONE
    except KeyboardInterrupt:
        print(
            f"lumbargrade {name}: interrupted; finished work is kept, rerun to resume",
            file=sys.stderr,
        )
        return 130


def entry() -> None:
    """Console entry point."""
    sys.exit(main())


if __name__ == "__main__":
    entry()
