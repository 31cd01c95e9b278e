"""The rank of this process in its launch, from the environment variables that launchers set."""

from __future__ import annotations

import os
from dataclasses import dataclass

from rsam_app.system.errors import UserError

LAUNCHER_REPORTS = "RSAM_LAUNCHER_REPORTS"
"""Environment variable of `--processes N`: that launcher reports itself which process a signal killed."""


@dataclass(frozen=True)
class Rank:
    """Process `rank` of `world`, and `local_rank` of the `local_world` processes on its machine."""

    rank: int
    world: int
    local_rank: int
    local_world: int
    address: str
    """The main process's machine."""
    port: int
    """Port of the launch's store on that machine."""
    attempt: int
    """Number of restarts by the launcher."""
    launcher_serves_store: bool
    launcher_reports: bool

    @property
    def is_main(self) -> bool:
        """Whether this is the process that prints and writes."""
        return self.rank == 0

    @property
    def is_first_here(self) -> bool:
        """Whether this process reports for its machine what the main process cannot."""
        return self.local_rank == 0 or self.rank == 1

    @property
    def machines(self) -> int:
        """Number of machines; all have equally many processes."""
        return -(-self.world // self.local_world)


def current_rank() -> Rank | None:
    """Return the rank of this process, None if it is the only one. Raises `UserError` if the launcher does not set the
    number of processes on this machine."""
    variables = os.environ
    world = int(variables.get("WORLD_SIZE", "1"))
    if world == 1 or "RANK" not in variables or "MASTER_ADDR" not in variables:
        return None
    if "LOCAL_WORLD_SIZE" not in variables:
        raise UserError(
            f"LOCAL_WORLD_SIZE, the number of processes on this machine, is not set in process {variables['RANK']} of"
            f" {world}.\nStart with `--processes N`, `accelerate launch` or torchrun, which set it."
        )
    return Rank(
        rank=int(variables["RANK"]),
        world=world,
        local_rank=int(variables.get("LOCAL_RANK", "0")),
        local_world=int(variables["LOCAL_WORLD_SIZE"]),
        address=variables["MASTER_ADDR"],
        port=int(variables.get("MASTER_PORT", "29500")),
        attempt=int(variables.get("TORCHELASTIC_RESTART_COUNT", "0")),
        launcher_serves_store=variables.get("TORCHELASTIC_USE_AGENT_STORE") == "True",
        launcher_reports=LAUNCHER_REPORTS in variables,
    )
