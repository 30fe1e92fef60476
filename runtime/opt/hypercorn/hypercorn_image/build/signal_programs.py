# SPDX-License-Identifier: MIT
"""Writes the programs `block-signals` and `unblock-signals`: run once, while an image is built.

`block-signals COMMAND ARGUMENT…` blocks SIGTERM, SIGINT and SIGQUIT and becomes COMMAND, which is a path. A blocked
signal stays pending while the process becomes other programs, until `serve.py` has its handlers and unblocks it.
Otherwise the kernel drops each signal to PID 1 that comes while it has no handler. These are machine code because
Alpine has no program that blocks signals, and those of the other images are slower: docs/stopping.md.
"""

import os
import struct
import sys
from typing import List

SIGNALS = 1 << (15 - 1) | 1 << (2 - 1) | 1 << (3 - 1)  # SIGTERM, SIGINT, SIGQUIT; the same numbers on both machines
_BASE = 0x400000  # where it is loaded
_HEADERS = 64 + 2 * 56  # of the file, and of its two segments

# Each is rt_sigprocmask(how, &set, NULL, 8); execve(argv[1], &argv[1], envp); exit(127). HOW is a byte of its first
# instruction. The set follows the code. tests/runtime/test_signal_programs.py assembles the right column again.
AMD64 = (
    "bf HOW 00 00 00        mov edi, HOW",
    "48 8d 35 35 00 00 00   lea rsi, [rip + set]",
    "31 d2                  xor edx, edx",
    "41 ba 08 00 00 00      mov r10d, 8",
    "b8 0e 00 00 00         mov eax, 14",
    "0f 05                  syscall",
    "48 8b 7c 24 10         mov rdi, [rsp + 16]",
    "48 8d 74 24 10         lea rsi, [rsp + 16]",
    "48 8b 04 24            mov rax, [rsp]",
    "48 8d 54 c4 10         lea rdx, [rsp + rax * 8 + 16]",
    "b8 3b 00 00 00         mov eax, 59",
    "0f 05                  syscall",
    "bf 7f 00 00 00         mov edi, 127",
    "b8 3c 00 00 00         mov eax, 60",
    "0f 05                  syscall",
)
ARM64 = (
    "HOW 00 80 d2   mov x0, HOW",
    "c1 01 00 10    adr x1, set",
    "02 00 80 d2    mov x2, 0",
    "03 01 80 d2    mov x3, 8",
    "e8 10 80 d2    mov x8, 135",
    "01 00 00 d4    svc 0",
    "e0 0b 40 f9    ldr x0, [sp, 16]",
    "e1 43 00 91    add x1, sp, 16",
    "e2 03 40 f9    ldr x2, [sp]",
    "22 0c 02 8b    add x2, x1, x2, lsl 3",
    "a8 1b 80 d2    mov x8, 221",
    "01 00 00 d4    svc 0",
    "e0 0f 80 d2    mov x0, 127",
    "a8 0b 80 d2    mov x8, 93",
    "01 00 00 d4    svc 0",
)
# `uname -m` -> ELF's number of the machine, the code, and SIG_UNBLOCK (1) as the instruction has it; SIG_BLOCK is 0.
MACHINES = {"x86_64": (62, AMD64, "01"), "aarch64": (183, ARM64, "20")}

# For any other machine. The image works there, but a stop in its first moments can be lost.
ELSEWHERE = b'#!/bin/sh\nexec "$@"\n'


def program(machine: str, unblock: bool) -> bytes:
    """Return the program for a machine, as `uname -m` names it."""
    if machine not in MACHINES:
        return ELSEWHERE
    number, lines, unblocking = MACHINES[machine]
    text = " ".join(line.split("   ", 1)[0] for line in lines)
    code = bytes.fromhex(text.replace("HOW", unblocking if unblock else "00"))
    return _elf(number, code + struct.pack("<Q", SIGNALS))


def _elf(machine: int, code: bytes) -> bytes:
    """Return a static executable: one segment to read and run, and a stack that cannot be run."""
    size = _HEADERS + len(code)
    identity = b"\x7fELF" + bytes([2, 1, 1]).ljust(12, b"\0")  # 64 bits, little-endian, version 1
    header = struct.pack("<HHIQQQIHHHHHH", 2, machine, 1, _BASE + _HEADERS, 64, 0, 0, 64, 56, 2, 0, 0, 0)
    load = struct.pack("<IIQQQQQQ", 1, 5, 0, _BASE, _BASE, size, size, 0x10000)
    stack = struct.pack("<IIQQQQQQ", 0x6474E551, 6, 0, 0, 0, 0, 0, 16)
    return identity + header + load + stack + code


def main(arguments: List[str]) -> int:
    """Write both programs into a directory."""
    (directory,) = arguments
    for name, unblock in (("block-signals", False), ("unblock-signals", True)):
        path = os.path.join(directory, name)
        with open(path, "wb") as file:
            file.write(program(os.uname().machine, unblock))
        os.chmod(path, 0o755)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
