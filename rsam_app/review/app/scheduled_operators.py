"""Scheduled operators: FiftyOne only queues them; a process has to take them up. Ours does while the App is open."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rsam_app.system.mongodb.connection import import_fiftyone

OURS = "@rsam/review/"


def run_scheduled(dataset_name: str, report: Callable[[str], None] | None = None) -> int:
    """Do what was scheduled on the dataset from our plugin, one after the other, and `report` what is begun and what
    came of it; returns how many.

    Operators of other plugins wait for FiftyOne's own `fiftyone delegated launch`. One that is interrupted counts as
    failed, so that nobody waits for it.
    """
    import_fiftyone()
    from fiftyone.operators.delegated import DelegatedOperationService
    from fiftyone.operators.executor import ExecutionResult, ExecutionRunState
    from fiftyone.operators.registry import get_operator

    service = DelegatedOperationService()
    waiting: list[Any] = service.list_operations(dataset_name=dataset_name, run_state=ExecutionRunState.QUEUED)
    ours = [operation for operation in waiting if operation.operator.startswith(OURS)]
    for operation in ours:
        name = get_operator(operation.operator).config.label.removesuffix(" …")
        if report:
            report(f"{name}: begun")
        try:
            service.execute_operation(operation)
            if report:
                report(f"{name}: {_outcome(service.get(operation.id))}")
        except KeyboardInterrupt:
            service.set_failed(operation.id, ExecutionResult(error="stopped: the App was closed"))
            raise
    return len(ours)


def _outcome(operation: Any) -> str:
    """What came of an operation: the message it left as its last progress, or why it failed, without the traceback."""
    if operation.result is not None and operation.result.error:
        return f"failed: {operation.result.error.strip().split('UserError: ')[-1]}"
    said = operation.status.label if operation.status is not None else None
    return (said or "done").replace("**", "").replace("\n\n", " ")
