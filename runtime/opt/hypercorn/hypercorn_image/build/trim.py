# SPDX-License-Identifier: MIT
"""Takes out of installed packages what no server loads: `python trim.py [SITE_PACKAGES]`.

That is the debug information of extension modules, and the byte code of tests. The wheels of uvloop 0.23 have 14 MB of
the former, a third of what an image adds to its base. Only debuggers of C code read it.
"""

import base64
import csv
import glob
import hashlib
import os
import re
import struct
import sys
import sysconfig
from typing import List, Tuple

# Of an ELF file of 64 bits, little-endian, as in elf(5).
IDENTITY = b"\x7fELF\x02\x01"
HEADER = struct.Struct("<16sHHIQQQIHHHHHH")
SEGMENT = struct.Struct("<IIQQQQQQ")
SECTION = struct.Struct("<IIQQQQIIQQ")

EXTENSION_MODULE = re.compile(r"\.so(\.|$)")
TESTS = re.compile(r"(^|/)_?tests?/")


def without_debug_information(module: bytes) -> bytes:
    """Return an extension module cut after what is loaded of it, or as it is if it has no debug information."""
    if not module.startswith(IDENTITY) or b".debug_info" not in _section_names(module):
        return module
    fields = list(HEADER.unpack_from(module))
    offset, size, count = fields[5], fields[9], fields[10]
    ends = (start + length for start, length in (_span(module, offset + size * index) for index in range(count)))
    end = max(offset + size * count, *ends)
    fields[6] = fields[12] = fields[13] = 0  # the table of sections lay behind: only linkers and debuggers read it
    return HEADER.pack(*fields) + module[HEADER.size : end]


def _span(module: bytes, segment: int) -> Tuple[int, int]:
    fields = SEGMENT.unpack_from(module, segment)
    return fields[2], fields[5]


def _section_names(module: bytes) -> List[bytes]:
    """Return the names of its sections; none if it has no table of them."""
    fields = HEADER.unpack_from(module)
    offset, size, count, names = fields[6], fields[11], fields[12], fields[13]
    if not offset or names >= count:
        return []
    table = SECTION.unpack_from(module, offset + size * names)
    return module[table[4] : table[4] + table[5]].split(b"\0")


def main(arguments: List[str]) -> int:
    """Trim each distribution, and write into its RECORD what was taken out."""
    (packages,) = arguments or [sysconfig.get_path("purelib")]
    for record in sorted(glob.glob(os.path.join(packages, "*.dist-info", "RECORD"))):
        with open(record, encoding="utf-8", newline="") as file:
            before = list(csv.reader(file))
        after = [trimmed for row in before for trimmed in _trimmed(packages, row)]
        if after != before:
            with open(record, "w", encoding="utf-8", newline="") as file:
                csv.writer(file, lineterminator="\n").writerows(after)
    return 0


def _trimmed(packages: str, row: List[str]) -> List[List[str]]:
    """Trim the file that a row of a RECORD names; return the row of what is left of it, if anything is."""
    path = os.path.join(packages, row[0])
    if not os.path.exists(path):  # official images delete the byte code of pip and leave its RECORD
        return [row]
    if row[0].endswith(".pyc") and TESTS.search(row[0]):
        os.remove(path)
        return []
    if not EXTENSION_MODULE.search(row[0]):
        return [row]
    with open(path, "rb") as file:
        before = file.read()
    after = without_debug_information(before)
    if after == before:
        return [row]
    with open(path, "wb") as file:
        file.write(after)
    print(f"{row[0]}: {len(before) / 1e6:.1f} MB, without debug information {len(after) / 1e6:.1f} MB")
    digest = base64.urlsafe_b64encode(hashlib.sha256(after).digest()).rstrip(b"=").decode()
    return [[row[0], f"sha256={digest}", str(len(after))]]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
