"""The command line. `main` takes `-w` and `--json` before or after the command and turns errors into exit codes:
0 done, 1 the person can mend it, 2 usage, 3 a bug of ours.
"""

from __future__ import annotations

import json
import sys
import traceback

from trugrade_core.errors import TruGradeError, UsageError


def main(argv: list[str] | None = None) -> None:
    """Entry point of `trugrade`."""
    sys.exit(run_line(sys.argv[1:] if argv is None else argv))


def run_line(argv: list[str]) -> int:
    """Run one command line; returns the exit code."""
    import typer

    from trugrade_core.cli import console
    from trugrade_core.cli.app import app

    try:
        rest = console.take_globals(argv)
        command = typer.main.get_command(app)
        return command.main(rest, prog_name="trugrade", standalone_mode=False) or 0
    except TruGradeError as e:
        return _report(e)
    except typer.Exit as e:
        return e.exit_code
    except (typer.Abort, KeyboardInterrupt):
        print("Stopped.", file=sys.stderr)  # noqa: T201
        return 1
    except BrokenPipeError:
        sys.stderr.close()
        return 0
    except Exception as e:
        if usage := _usage(e):
            return _report(usage)
        traceback.print_exc()
        _report(TruGradeError(f"{type(e).__name__}: {e}", code="bug",
                              what_to_do="This is a fault of ours; the lines above say where."))  # fmt: skip
        return 3


def _usage(e: Exception) -> UsageError | None:
    """Click's own usage errors, whichever copy of click raised them."""
    if getattr(e, "exit_code", None) != 2 or not hasattr(e, "format_message"):
        return None
    context = getattr(e, "ctx", None)
    path = context.command_path if context else "trugrade"
    return UsageError(e.format_message(), what_to_do=f"See: {path} --help")


def _report(e: TruGradeError) -> int:
    from trugrade_core.cli import console

    if console.as_json:
        print(json.dumps({"error": e.as_dict()}, ensure_ascii=False, default=str))  # noqa: T201
    else:
        console.fail(e)
    return e.exit_code
