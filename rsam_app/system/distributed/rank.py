"""Which process of a launch this one is, as the launcher told it."""

from __future__ import annotations

import os
from dataclasses import dataclass

from rsam_app.system.errors import UserError

OUR_LAUNCHER = "RSAM_LAUNCHER_TELLS"
"""Set by `--processes N`: that launcher waits for its processes, so it knows, and says, which signal killed one."""


@dataclass(frozen=True)
class Rank:
    """A process of a launch: the `rank`th of `world`, the `local_rank`th of `local_world` on its machine."""

    rank: int
    world: int
    local_rank: int
    local_world: int
    address: str
    """Of the main process's machine."""
    port: int
    """Of the store there that every process can reach."""
    attempt: int
    """How often the launcher began again."""
    launcher_serves_store: bool
    launcher_tells: bool

    @property
    def is_main(self) -> bool:
        """Whether this process is the one that prints and writes."""
        return self.rank == 0

    @property
    def machines(self) -> int:
        """How many machines the launch runs on, all with as many processes."""
        return -(-self.world // self.local_world)


def current_rank() -> Rank | None:
    """This process's place in its launch; None where it is alone. Raises `UserError` where a launcher leaves open how
    many of the processes run on this machine."""
    told = os.environ
    world = int(told.get("WORLD_SIZE", "1"))
    if world == 1 or "RANK" not in told or "MASTER_ADDR" not in told:
        return None
    if "LOCAL_WORLD_SIZE" not in told:
        raise UserError(
            f"LOCAL_WORLD_SIZE is not set, though this is process {told['RANK']} of {world}: how many run on this"
            " machine?\nStart with `--processes N`, `accelerate launch` or torchrun, which say so."
        )
    return Rank(
        rank=int(told["RANK"]),
        world=world,
        local_rank=int(told.get("LOCAL_RANK", "0")),
        local_world=int(told["LOCAL_WORLD_SIZE"]),
        address=told["MASTER_ADDR"],
        port=int(told.get("MASTER_PORT", "29500")),
        attempt=int(told.get("TORCHELASTIC_RESTART_COUNT", "0")),
        launcher_serves_store=told.get("TORCHELASTIC_USE_AGENT_STORE") == "True",
        launcher_tells=OUR_LAUNCHER in told,
    )
