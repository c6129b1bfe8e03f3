"""Errors and notes of the engine in the words of the pages: it names what to set as the command line does."""

from __future__ import annotations

import re

FIELDS = {
    "--by": "Also kept together",
    "--card-pattern": "Card id from file names",
    "--cards": "List of cards",
    "--classes": "Classes, in their order",
    "--dataset": "Dataset",
    "--dpi": "Resolution",
    "--dry-run": "Check first",
    "--folds": "Folds",
    "--labels": "Labels, when they lie elsewhere",
    "--map": "Rename classes",
    "--outline": "The outline is drawn as",
    "--outline-from": "Cards nobody has outlined",
    "--random-init": "Go on without missing weights",
    "--ratios": "Shares",
    "--task": "Task",
    "--to": "Into the dataset",
}
"""{option: the field of the page that is the same}; `--format` is two fields, and `--set` comes before a key that is on the page."""

# A whole command line stays as it is: it is there to be typed. The word in capitals after an option stands for its value.
_SAID = re.compile(
    r"(?P<command>\btrugrade [a-z][^;`\n]*)|(?P<set>--set )|(?P<option>--[a-z]+(?:-[a-z]+)*)(?P<value>[ =][A-Z][A-Z_0-9,…]*\b)?"
)


def said(text: str) -> str:
    """`Say which: --labels FILE_OR_FOLDER` as `Say which: 'Labels, when they lie elsewhere'`."""

    def word(found: re.Match[str]) -> str:
        option = found["option"]
        if found["set"]:
            return ""
        if option == "--format":
            return "'Card format, for photographs'" if "photograph" in text[: found.start()] else "'Format'"
        return f"'{FIELDS[option]}'" if option in FIELDS else found[0]

    return _SAID.sub(word, text)
