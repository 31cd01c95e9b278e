"""Scheduled operators: FiftyOne only queues them; RSAM runs its own while the App is open."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rsam_app.system.mongodb.connection import import_fiftyone

URI_PREFIX = "@rsam/review/"


def run_scheduled(dataset_name: str, report: Callable[[str], None] | None = None) -> int:
    """Run the plugin's operators scheduled on the dataset, one after the other; return their number.

    `report` receives the start and the outcome of each. Other plugins' operators wait for `fiftyone delegated launch`.
    An interrupted operator counts as failed.
    """
    import_fiftyone()
    from fiftyone.operators.delegated import DelegatedOperationService
    from fiftyone.operators.executor import ExecutionResult, ExecutionRunState
    from fiftyone.operators.registry import get_operator

    service = DelegatedOperationService()
    queued: list[Any] = service.list_operations(dataset_name=dataset_name, run_state=ExecutionRunState.QUEUED)
    scheduled = [operation for operation in queued if operation.operator.startswith(URI_PREFIX)]
    for operation in scheduled:
        name = get_operator(operation.operator).config.label.removesuffix(" …")
        if report:
            report(f"{name}: started")
        try:
            service.execute_operation(operation)
            if report:
                report(f"{name}: {_outcome(service.get(operation.id))}")
        except KeyboardInterrupt:
            service.set_failed(operation.id, ExecutionResult(error="stopped: the App was closed"))
            raise
    return len(scheduled)


def forget_operations(dataset_name: str) -> None:
    """Delete what FiftyOne stores about the plugin's operators that were scheduled on the dataset."""
    import_fiftyone()
    from fiftyone.operators.delegated import DelegatedOperationService

    service = DelegatedOperationService()
    for operation in service.list_operations(dataset_name=dataset_name):
        if operation.operator.startswith(URI_PREFIX):
            service.delete_operation(operation.id)


def _outcome(operation: Any) -> str:
    """The operation's final message, or the reason for its failure without the traceback."""
    if operation.result is not None and operation.result.error:
        return f"failed: {operation.result.error.strip().split('UserError: ')[-1]}"
    message = operation.status.label if operation.status is not None else None
    return (message or "done").replace("**", "").replace("\n\n", " ")
