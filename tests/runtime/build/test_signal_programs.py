"""The programs that block and unblock signals: what their machine code is, and what it does on both machines."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from hypercorn_image.build import signal_programs

from tests.local import need

# Machine -> the assembler, what its source begins with, and the command that runs a program (none: this machine does).
MACHINES = {
    "x86_64": ("as", "binutils", ".intel_syntax noprefix\n", "qemu-x86_64-static"),
    "aarch64": ("aarch64-linux-gnu-as", "binutils-aarch64-linux-gnu", "", "qemu-aarch64-static"),
}
BLOCKED, NOT_BLOCKED = "SigBlk:\t0000000000004006", "SigBlk:\t0000000000000000"


@pytest.fixture(params=MACHINES)
def machine(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def programs(machine: str, tmp_path: Path) -> tuple[list[str], list[str]]:
    """The commands that run `block-signals` and `unblock-signals` of a machine on this one."""
    commands = []
    emulator = [] if machine == os.uname().machine else [MACHINES[machine][3]]
    for command in emulator:
        need(command, package="qemu-user-static")
    for unblock in (False, True):
        path = tmp_path / f"program-{unblock}"
        path.write_bytes(signal_programs.program(machine, unblock))
        path.chmod(0o755)
        commands.append([*emulator, str(path)])
    return commands[0], commands[1]


@pytest.mark.parametrize("unblock", [False, True])
def test_the_code_is_what_its_source_says(machine: str, unblock: bool, tmp_path: Path) -> None:
    assembler, package, first, _ = MACHINES[machine]
    need(assembler, package=package)
    lines = [line.split("   ", 1)[1].strip() for line in signal_programs.MACHINES[machine][1]]
    source = first + "\n".join(lines).replace("HOW", "1" if unblock else "0") + "\nset: .quad 0x4006\n"
    made = tmp_path / "made.o"
    subprocess.run([assembler, "-o", made, "-"], input=source, text=True, check=True)
    text = tmp_path / "text"
    need("objcopy", package="binutils")
    objcopy = assembler.replace("-as", "-objcopy") if "-" in assembler else "objcopy"
    subprocess.run([objcopy, "-O", "binary", "-j", ".text", made, text], check=True)
    assert text.read_bytes() in signal_programs.program(machine, unblock) + bytes(8), "an assembler may pad the end"


def test_signals_are_blocked_over_programs_and_unblocked(programs: tuple[list[str], list[str]]) -> None:
    block, unblock = programs
    status = ["/bin/grep", "SigBlk", "/proc/self/status"]

    def says(*command: str) -> str:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    assert says(*block, *status) == BLOCKED
    assert says(*block, "/usr/bin/env", *status) == BLOCKED
    assert says(*block, "/usr/bin/env", *unblock, *status) == NOT_BLOCKED


def test_arguments_and_environment_are_passed_on(programs: tuple[list[str], list[str]]) -> None:
    for program in programs:
        command = [*program, "/bin/sh", "-c", 'printf "%s|" "$MARKER" "$@"', "sh", "a b", ""]
        done = subprocess.run(command, env={"MARKER": "x y"}, capture_output=True, text=True, check=True)
        assert done.stdout == "x y|a b||"


def test_a_command_that_cannot_be_run_is_status_127(programs: tuple[list[str], list[str]]) -> None:
    for program in programs:
        assert subprocess.run([*program, "/no/such/command"], check=False).returncode == 127
        assert subprocess.run(program, check=False).returncode == 127


def test_on_another_machine_the_command_is_run_all_the_same(tmp_path: Path) -> None:
    path = tmp_path / "program"
    path.write_bytes(signal_programs.program("riscv64", unblock=False))
    path.chmod(0o755)
    script = tmp_path / "script"
    script.write_text(f"#!{path} /bin/sh\necho ran $1\n")
    script.chmod(0o755)
    assert subprocess.run([script, "here"], capture_output=True, text=True, check=True).stdout == "ran here\n"
