# SPDX-License-Identifier: MIT
"""The parent process: forks the workers, replaces them, handles signals."""
