"""Write requirements.lock and requirements-torch.lock from pyproject.toml, and requirements-label-studio.lock (`make lock`).

One resolution for everything, then two files: the torch family (torch, torchvision and the CUDA packages they
pull in) and all the rest, so that a CPU-only set-up can take the family from another index. Label Studio's server
pins an older numpy and lives in an environment of its own.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FAMILY = re.compile(r"^(torch|torchvision|triton|cuda-\w+|nvidia-(?!ml-py).+)$")
LABEL_STUDIO = "label-studio==1.23.2"
PIN = re.compile(r"^([a-z0-9][a-z0-9._-]*)==", re.IGNORECASE)


def pins(text: str) -> dict[str, str]:
    """Split a compiled lock into its blocks: {name and version line's key: the block's text}."""
    blocks: dict[str, str] = {}
    key = ""
    for line in text.splitlines(keepends=True):
        if PIN.match(line):
            key = line.split(" \\")[0].strip()
        if key:
            blocks[key] = blocks.get(key, "") + line
    return blocks


def compiled(*what: str, given: str | None = None) -> dict[str, str]:
    """The blocks of a resolution with hashes; `given` is what `-` reads."""
    command = [sys.executable, "-m", "uv", "pip", "compile", "--universal", "--python-version", "3.11",
               "--generate-hashes", "--no-header", "--quiet", *sys.argv[1:], *what]  # fmt: skip
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, input=given)
    if done.returncode:
        sys.exit(done.stderr)
    return pins(done.stdout)


def main() -> None:
    blocks = compiled("--all-extras", "--group", "dev", "--constraint", "constraints.txt", "pyproject.toml")
    server = compiled("-", given=LABEL_STUDIO)
    family = {key for key in blocks if FAMILY.match(PIN.match(key).group(1))}  # type: ignore[union-attr]
    files = {
        "requirements-torch.lock": {key: blocks[key] for key in family},
        "requirements.lock": {key: blocks[key] for key in blocks.keys() - family},
        "requirements-label-studio.lock": server,
    }
    for name, chosen in files.items():
        path = ROOT / name
        before = set(pins(path.read_text())) if path.exists() else set()
        path.write_text("".join(chosen[key] for key in sorted(chosen)))
        for key in sorted(chosen.keys() ^ before):
            print(f"{name}: {'+' if key in chosen else '-'} {key}")


if __name__ == "__main__":
    main()
