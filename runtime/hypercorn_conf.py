# SPDX-License-Identifier: MIT
"""The configuration included in the image: every Hypercorn option, computed from environment variables.

It is used when neither /app/app nor /app has a hypercorn_conf.py. Your own file can start from this one
(`from hypercorn_conf import *`). `python /hypercorn_conf.py` prints the configuration in effect as JSON. The rules are
in /opt/hypercorn/hypercorn_image/config.
"""

import os as __os__
import sys as __sys__

__package_path__ = __os__.path.join(__os__.path.dirname(__os__.path.abspath(__file__)), "opt", "hypercorn")
if __package_path__ not in __sys__.path:
    __sys__.path.append(__package_path__)

from hypercorn_image.config import effective as __effective__

if __name__ == "__main__":
    __sys__.exit(__effective__.main())

__values__ = __effective__.included_or_exit(__os__.environ)
__all__ = sorted(__values__)
globals().update(__values__)
