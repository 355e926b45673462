# What nixos/lib/test-script-prepend.py puts before a testScript for mypy: the driver's symbols with their types.
from typing import Any, Callable, ContextManager, List

from test_driver.machine import BaseMachine, NspawnMachine, QemuMachine

start_all: Callable[[], None]
join_all: Callable[[], None]
run_tests: Callable[[], None]
test_script: Callable[[], None]
serial_stdout_off: Callable[[], None]
serial_stdout_on: Callable[[], None]
subtest: Callable[[str], ContextManager[None]]
machines: List[BaseMachine]
machines_qemu: List[QemuMachine]
machines_nspawn: List[NspawnMachine]


def retry(fn: Callable[[bool], Any], timeout_seconds: int = 900) -> None:
    raise Exception("only its type is used")


def create_machine(
    start_command: str, *, name: str | None = None, keep_machine_state: bool = False
) -> QemuMachine:
    raise Exception("only its type is used")


