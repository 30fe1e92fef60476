"""The reference of all variables as Markdown, for the README: `python variables.py FOLDER` writes it to stdout.

FOLDER is the runtime, whose table in `config.options` it is made from; needs no Hypercorn.
"""

import sys


def render() -> str:
    """Return one table for each group of variables."""
    from hypercorn_image.config.options import TABLE

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
    sys.path[0] = f"{sys.argv[1]}/opt/hypercorn"
    sys.stdout.write(render())
