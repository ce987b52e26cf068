# SPDX-License-Identifier: Apache-2.0
"""``python -m staticdropout``."""

from .cli import main

main()
