# SPDX-License-Identifier: MIT
"""Makes one checked configuration from variables, a configuration file and arguments."""
