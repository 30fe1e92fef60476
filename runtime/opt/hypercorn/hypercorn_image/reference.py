"""The reference of all variables as Markdown, for the README: `python reference.py` writes it to stdout.

Made from the table in `options`; needs no Hypercorn.
"""

import os
import sys


def render() -> str:
    """Return one table for each group of variables."""
    from hypercorn_image.options import TABLE

    parts, group = [], ""
    for option in TABLE:
        if option.group != group:
            group = option.group
            parts.append(
                f"\n### {group}\n\n| variable | type | default | Hypercorn option | meaning | since |\n"
                "|---|---|---|---|---|---|"
            )
        name = f"`{option.variable}`" + (f", `{option.variable}_FILE`" if option.secret else "")
        default = f"`{option.default}`" if option.default else "unset"
        server_option = f"`{option.option}`" if option.option else ""
        cells = (name, option.kind.name, default, server_option, option.meaning, option.since)
        parts.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(parts).strip() + "\n"


if __name__ == "__main__":
    sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    sys.stdout.write(render())
