"""Model folders of the released networks: which checkpoint each of them is, and opening them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lumbargrade.domain.errors import BadModel, UsageError
from lumbargrade.files.binary import safetensors_metadata
from lumbargrade.inference.model_folder import HEADER, MODEL_WEIGHTS
from lumbargrade.team_two_stage.choice import Choice
from lumbargrade.team_two_stage.groups import Network
from lumbargrade.team_two_stage.members import RECIPE, Member, load_members
from lumbargrade.team_two_stage.state import Array

if TYPE_CHECKING:
    import torch

#: Missing networks that an error names; the others are counted.
_NAMED = 5


def is_released(folder: Path) -> bool:
    """Return whether a model folder holds a released two-stage network; this needs no torch."""
    try:
        return f"{HEADER}-{RECIPE}" in safetensors_metadata(folder / MODEL_WEIGHTS)
    except (OSError, BadModel):  # opening it as another model says what is wrong
        return False


def checkpoints(folders: Sequence[Path]) -> dict[Member, Path]:
    """Return which checkpoint each model folder is, by its place (`Member.model_folder`).

    Raises:
        UsageError: if a folder is at no such place, or two are the same checkpoint.
    """
    by_place = {member.model_folder: member for member in load_members()}
    found: dict[Member, Path] = {}
    for folder in folders:
        parts = folder.resolve().as_posix().split("/")
        ends = ("/".join(parts[-n:]) for n in (4, 5))
        member = next((by_place[end] for end in ends if end in by_place), None)
        if member is None:
            raise UsageError(
                f"{folder}: its place does not say which network of {RECIPE} it is; "
                f"`lumbargrade import-weights ROOT --recipe {RECIPE} --out MODELS` imports all, "
                "each at its place"
            )
        if (first := found.setdefault(member, folder)) is not folder:
            raise UsageError(f"{folder} and {first} are the same network; give one of them")
    return found


def require_complete(found: Mapping[Member, Path], choice: Choice) -> None:
    """Check that every chosen network is there.

    Raises:
        UsageError: if one is missing; the text names some.
    """
    wanted = choice.of(load_members())
    missing = [m.model_folder for m in wanted if m not in found]
    if missing:
        more = f" and {len(missing) - _NAMED} more" if len(missing) > _NAMED else ""
        raise UsageError(
            f"{len(missing)} of the {len(wanted)} networks are missing: "
            f"{', '.join(missing[:_NAMED])}{more}; import them, or name those to use with "
            "--networks"
        )


@dataclass(frozen=True)
class TorchNetworks:
    """The networks of model folders, run by torch in single precision (`predictor.Networks`).

    Attributes:
        folders: checkpoint -> its model folder.
        device: where they run.
    """

    folders: Mapping[Member, Path]
    device: torch.device

    @property
    def engine(self) -> str:
        import torch

        return f"PyTorch {torch.__version__}, {self.device.type}"

    @property
    def members(self) -> tuple[Member, ...]:
        """The checkpoints that are there, in the order of the table."""
        return tuple(member for member in load_members() if member in self.folders)

    def open(self, member: Member) -> Network:
        """Load a network.

        Raises:
            BadModel: if it is damaged, or is another network than its place says.
        """
        import torch

        from lumbargrade.team_two_stage.model_files import load_released

        folder = self.folders[member]
        model = load_released(folder)
        if (model.meta.network, model.meta.fold) != (member.network, member.fold):
            raise BadModel(
                f"{folder}: {model.meta.network} fold {model.meta.fold}, but its place is that of "
                f"{member.network} fold {member.fold}; import it again"
            )
        model = model.to(self.device)

        def network(images: Mapping[str, Array]) -> Mapping[str, Array]:
            with torch.inference_mode():
                output = model(
                    **{
                        name: torch.from_numpy(np.ascontiguousarray(image)).to(self.device)
                        for name, image in images.items()
                    }
                )
                parts = {f.name: getattr(output, f.name) for f in fields(output)}
                return {name: part.float().cpu().numpy() for name, part in parts.items()}

        return network

    def fingerprint(self, member: Member) -> str:
        """Size and modification time of its weight file."""
        status = (self.folders[member] / MODEL_WEIGHTS).stat()
        return f"{status.st_size}|{status.st_mtime_ns}"
