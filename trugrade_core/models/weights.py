"""From the word `coco`, `imagenet`, `none` or a path to a weight file on this machine, and from there into a network.

Nothing is ever downloaded, and no pickled object is ever run.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from trugrade_core.errors import TrainingError, WeightsMissing
from trugrade_core.models import Architecture, Variant

if TYPE_CHECKING:
    from torch import Tensor, nn

PUBLISHED = {
    "maskrcnn_resnet50_fpn_coco-bf2d0c1e.pth": "MaskRCNN_ResNet50_FPN_Weights.COCO_V1",
    "maskrcnn_resnet50_fpn_v2_coco-73cbd019.pth": "MaskRCNN_ResNet50_FPN_V2_Weights.COCO_V1",
    "retinanet_resnet50_fpn_coco-eeacb38b.pth": "RetinaNet_ResNet50_FPN_Weights.COCO_V1",
    "retinanet_resnet50_fpn_v2_coco-5905b1c5.pth": "RetinaNet_ResNet50_FPN_V2_Weights.COCO_V1",
    "resnet50-0676ba61.pth": "ResNet50_Weights.IMAGENET1K_V1",
    "resnet50-11ad3fa6.pth": "ResNet50_Weights.IMAGENET1K_V2",
}
"""What torchvision calls the weights whose file this is."""
FETCH = {
    "efficientnet_lite0_timm.pt": "python -c \"import timm, torch; torch.save(timm.create_model('tf_efficientnet_lite0', "
    "pretrained=True).state_dict(), 'efficientnet_lite0_timm.pt')\"",
    "yolo11n-seg.pt": "download it from https://github.com/ultralytics/assets/releases",
    "yolo11s-seg.pt": "download it from https://github.com/ultralytics/assets/releases",
} | {
    file: f"python -c \"from torchvision.models import get_weight; get_weight('{name}').get_state_dict()\""
    for file, name in PUBLISHED.items()
}
"""How a person with a network gets each file; torchvision's land in torch's hub cache, where they are found."""
OLD_NAMES = (
    (r"(fpn\.(?:inner|layer)_blocks\.\d+)\.(weight|bias)", r"\1.0.\2"),
    (r"rpn\.head\.conv\.(weight|bias)", r"rpn.head.conv.0.0.\1"),
    (r"mask_head\.mask_fcn(\d)\.(weight|bias)", lambda m: f"mask_head.{int(m[1]) - 1}.0.{m[2]}"),
    (r"(head\.\w+_head\.conv)\.(\d)\.(weight|bias)", lambda m: f"{m[1]}.{int(m[2]) // 2}.0.{m[3]}"),
)
"""torchvision's published detectors were saved under names that its modules no longer have."""


def folders(ws_weights: Path) -> list[Path]:
    """Where weight files are looked for, in this order: the workspace, $TRUGRADE_WEIGHTS, torch's hub cache."""
    found = [ws_weights]
    if own := os.environ.get("TRUGRADE_WEIGHTS"):
        found.append(Path(own).expanduser())
    cache = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "torch"
    found.append(Path(os.environ.get("TORCH_HOME", str(cache))).expanduser() / "hub" / "checkpoints")
    return found


def resolve(arch: Architecture, variant: Variant, word: str, *, ws_weights: Path) -> Path | None:
    """The file that `word` stands for; None for `none`. Raises WeightsMissing naming the file and its folders."""
    if word == "none":
        return None
    name = f"{arch.id}_{variant.id}"
    if word not in ("coco", "imagenet"):
        path = Path(word).expanduser()
        if path.is_file():
            return path.resolve()
        raise WeightsMissing(
            "no such weight file",
            where=word,
            code="weights_missing.file",
            what_to_do="Give the path of a file, or one of: " + ", ".join([*variant.weights, "none"]) + ".",
        )
    if word not in variant.weights:
        known = ", ".join([*variant.weights, "none", "the path of a file"])
        raise WeightsMissing(
            f"{name} has no '{word}' weights",
            where="architecture_config.pretrained_weights",
            code="weights_missing.word",
            what_to_do=f"It takes: {known}.",
        )
    file = variant.weights[word]
    places = folders(ws_weights)
    for folder in places:
        if (folder / file).is_file():
            return folder / file
    raise WeightsMissing(
        f"the '{word}' weights of {name} are not on this machine: no {file} in " + ", ".join(map(str, places)),
        where="architecture_config.pretrained_weights",
        code="weights_missing.file",
        what_to_do=f"Put {file} into {ws_weights}, or set pretrained_weights to none. With a network: {FETCH[file]}",
        file=file,
        folders=[str(p) for p in places],
        fetch=FETCH[file],
    )


def load_state(path: Path) -> dict[str, Tensor]:
    """The tensors of a weight file. Raises TrainingError for a file that holds anything but tensors.

    A dict under the one key `model` or `state_dict` is opened.
    """
    import pickle

    import torch

    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError) as e:
        raise TrainingError(
            "is not a file of plain weights and was not opened: it may hold code, or is damaged",
            where=str(path),
            code="training.unsafe_weights",
            what_to_do="Save it again as torch.save(model.state_dict(), file) where you trust it, and give that file.",
        ) from e
    for key in ("model", "state_dict"):
        if isinstance(found, dict) and isinstance(found.get(key), dict):
            found = found[key]
    if not isinstance(found, dict) or not all(isinstance(v, torch.Tensor) for v in found.values()):
        raise TrainingError(
            "holds something other than named tensors",
            where=str(path),
            code="training.unsafe_weights",
            what_to_do="Give a state dict, as torch.save(model.state_dict(), file) writes it.",
        )
    return found


class Weights:
    """The tensors of one file, taken by whichever modules know their names; `report` says what became of them."""

    def __init__(self, path: Path | None, load: Callable[[Path], dict[str, Tensor]] = load_state) -> None:
        self.path = path
        self.state = load(path) if path else {}
        self.taken: set[str] = set()
        self.mismatched: dict[str, str] = {}

    def fill(self, module: nn.Module, rename: Mapping[str, str] | None = None) -> set[str]:
        """Load every tensor whose name and shape `module` has; returns the module's names of them.

        `rename` maps a prefix of the file to the module's.
        """
        import torch

        own = module.state_dict()
        chosen = {}
        for name, tensor in self.state.items():
            key = _renamed(name, rename or {})
            if key not in own:
                continue
            if own[key].shape != tensor.shape:
                self.mismatched[name] = f"{tuple(tensor.shape)}, here {tuple(own[key].shape)}"
                continue
            chosen[key] = tensor
            self.taken.add(name)
            self.mismatched.pop(name, None)
        with torch.no_grad():
            for key, tensor in chosen.items():
                own[key].copy_(tensor)
        return set(chosen)

    def report(self) -> list[str]:
        """Notes for the run's log. Raises TrainingError when the network knows nothing of the file."""
        if self.path is None:
            return []
        if not self.taken:
            raise TrainingError(
                "holds weights of another architecture: none of its names fits",
                where=str(self.path),
                code="training.other_architecture",
                what_to_do="Give a file of this architecture and variant, or set pretrained_weights to none.",
            )
        notes = [f"{self.path.name}: {len(self.taken)} of {len(self.state)} tensors taken"]
        notes += [f"{name} not taken: shape {why}" for name, why in self.mismatched.items()]
        rest = [n for n in self.state if n not in self.taken and n not in self.mismatched]
        rest = [n for n in rest if not n.endswith("num_batches_tracked")]
        if rest:
            more = f" and {len(rest) - 10} more" if len(rest) > 10 else ""
            notes.append("not part of this network: " + ", ".join(rest[:10]) + more)
        return notes


def _renamed(name: str, rename: Mapping[str, str]) -> str:
    for pattern, new in OLD_NAMES:
        name = re.sub(pattern + "$", new, name)
    for theirs, ours in rename.items():
        if name.startswith(theirs):
            return ours + name[len(theirs) :]
    return name
