"""What the released two-stage networks cost on one study, with random weights in their places.

    python -m benchmarks.two_stage [--device cuda] [--rows N]

The first row, one fold of set 8620, is the baseline of the others. Every row is a process of its
own with one thread; networks are built one after the other, as in `grade`. The study is a phantom
of usual size.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from benchmarks import child
from benchmarks.studies import make_studies

from lumbargrade.report.text import text_table
from lumbargrade.team_two_stage.choice import Choice
from lumbargrade.team_two_stage.groups import Network
from lumbargrade.team_two_stage.members import Member, load_members
from lumbargrade.team_two_stage.predictor import TwoStage
from lumbargrade.team_two_stage.state import Array

#: What is measured: name -> networks.
ROWS = {"one fold": ("fold0",), "all networks": (), "fused networks alone": ("fused",)}


@dataclass(frozen=True)
class RandomNetworks:
    """Networks of the released structures with random weights (`predictor.Networks`).

    Attributes:
        device: where they run.
    """

    device: str
    members = load_members()
    engine = "PyTorch, random weights"

    def open(self, member: Member) -> Network:
        import torch

        from lumbargrade.team_two_stage.networks import build_network

        model = build_network(member.network).to(self.device)

        def network(images: Mapping[str, Array]) -> Mapping[str, Array]:
            tensors = {
                n: torch.from_numpy(np.ascontiguousarray(i)).to(self.device)
                for n, i in images.items()
            }
            with torch.inference_mode():
                output = model(**tensors)
            return {f.name: getattr(output, f.name).cpu().numpy() for f in fields(output)}

        return network

    def fingerprint(self, member: Member) -> str:
        return ""


def prepared(study: str, device: str, *networks: str) -> Callable[[], None]:
    """The prediction of a study as work for `child.run`, after all imports."""
    import torch

    from lumbargrade.dicom.study import read_study

    torch.set_num_threads(1)
    read = read_study(study)
    system = TwoStage(RandomNetworks(device), Choice(networks=networks))

    def work() -> None:
        found = system.predict(read.study_id, read.volumes)
        if len(found.findings) != 25:
            raise RuntimeError(f"only {len(found.findings)} findings: {found.absent}")

    return work


def weights_gib(networks: tuple[str, ...]) -> float:
    """The memory that all chosen networks would need at once, GiB."""
    import torch

    from lumbargrade.team_two_stage.networks import build_network

    sizes: dict[str, int] = {}
    members = Choice(networks=networks).of(load_members())
    with torch.device("meta"):
        for name in {m.network for m in members}:
            state = build_network(name).state_dict().values()
            sizes[name] = sum(t.numel() * t.element_size() for t in state)
    return sum(sizes[m.network] for m in members) / 2**30


def main() -> None:
    from benchmarks.two_stage import prepared as work  # not of __main__, for the child process

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--rows", type=int, default=len(ROWS), help="only the first rows")
    options = parser.parse_args()
    rows = dict(list(ROWS.items())[: options.rows])
    timer = "cpu_s" if options.device == "cpu" else "wall_s"
    with tempfile.TemporaryDirectory() as folder:
        data = make_studies(Path(folder) / "data", 1)
        study = min((data / "train_images").iterdir())
        costs = {n: child.run(work, str(study), options.device, *c) for n, c in rows.items()}
    base = next(iter(costs.values()))
    table = [
        [
            name,
            len(Choice(networks=rows[name]).of(load_members())),
            cost[timer] / base[timer],
            cost["peak_mib"] / base["peak_mib"],
            weights_gib(rows[name]),
            cost[timer],
            cost["peak_mib"] / 1024,
        ]
        for name, cost in costs.items()
    ]
    header = ["set 8620", "networks", "time", "peak memory", "weights, GiB", "s", "peak, GiB"]
    print(text_table(header, table))


if __name__ == "__main__":
    main()
