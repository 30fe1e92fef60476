"""`make build`: builds and tags variants on the engine with `docker buildx bake`, and prints the outcome of each.

BuildKit does the graph, the parallelism and the cache. This module decides what to build and on which base image. It
continues after a failure: bake stops all targets when one fails.
"""

import re
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path

from docker.errors import ImageNotFound

from imagematrix import cli, labels
from imagematrix.build import bake
from imagematrix.console import say
from imagematrix.errors import UserError
from imagematrix.machine import address, base_image, engine, images
from imagematrix.machine.engine import Engine
from imagematrix.matrix.loading import load
from imagematrix.matrix.model import Variant
from imagematrix.outcome import Outcome, print_outcomes
from imagematrix.render.isolation import stale
from imagematrix.render.render import Rendered, render


class Builder:
    """Builds variants on one engine."""

    def __init__(self, engine: Engine, root: Path, rendered: Rendered) -> None:
        self.engine, self.root, self.rendered = engine, root, rendered
        self.client = engine.client()

    def build(self, variants: Iterable[Variant]) -> list[Outcome]:
        """Build what is not current. Each variant is `built`, `current` (nothing to do), `not built` or `failed`."""
        variants = list(variants)
        found = images.obtain(self.engine, (variant.base for variant in variants), pins(variants))
        outcomes: dict[Variant, Outcome] = {}
        todo: dict[Variant, base_image.Base] = {}
        for variant in variants:
            base = found[variant.base]
            if isinstance(base, base_image.Unavailable):
                outcomes[variant] = Outcome(variant, "failed" if base.refused else "not built", base.reason)
            elif self.is_current(variant, base):
                outcomes[variant] = Outcome(variant, "current")
            else:
                todo[variant] = base
        outcomes.update(self.bake_all(todo))
        return [outcomes[variant] for variant in variants]

    def stale(self, variants: Iterable[Variant]) -> tuple[Variant, ...]:
        """Return the variants that `build` would build. Nothing is pulled, made or built."""
        variants = list(variants)
        found = images.obtain(self.engine, (variant.base for variant in variants), pins(variants), dry_run=True)

        def is_stale(variant: Variant) -> bool:
            base = found.get(variant.base)
            return base is None or (isinstance(base, base_image.Base) and not self.is_current(variant, base))

        return tuple(variant for variant in variants if is_stale(variant))

    def is_current(self, variant: Variant, base: base_image.Base) -> bool:
        """Say whether the engine has this image already, on this base, under all its tags."""
        ids = set()
        for reference in variant.references:
            try:
                image = self.client.images.get(reference)
            except ImageNotFound:
                return False
            ids.add(image.id)
            if (
                self.rendered.why_stale(variant, image.labels)
                or image.labels.get(variant.matrix.labels.base_id) != base.image_id
            ):
                return False
        return len(ids) == 1

    def bake_all(self, todo: Mapping[Variant, base_image.Base]) -> dict[Variant, Outcome]:
        """Bake all at once. When a target fails, bake cancels the others: bake again without it until all are done."""
        outcomes: dict[Variant, Outcome] = {}
        left = dict(todo)
        at_once = len(left)
        while left:
            targets = list(left)[:at_once]
            output = self.run({variant: todo[variant] for variant in targets})
            done = {variant for variant in left if self.is_current(variant, todo[variant])}
            outcomes.update({variant: Outcome(variant, "built") for variant in done})
            reasons = blamed(output)
            if len(targets) == 1:  # a single target: the failure is its own, and bake's steps do not name it
                said = _last(output) or "bake reported success, but the engine does not have the image"
                reasons = {targets[0].target: next(iter(reasons.values()), said)}
            for variant in targets:
                if variant not in done and variant.target in reasons:
                    outcomes[variant] = Outcome(variant, "failed", reasons[variant.target])
            before, left = left, {variant: base for variant, base in left.items() if variant not in outcomes}
            if len(left) == len(before):
                at_once = 1
            if left:
                say(f"continuing with {len(left)} builds that were interrupted")
        return outcomes

    def run(self, todo: Mapping[Variant, base_image.Base]) -> str:
        """Bake with this machine's base images and the revision. Return the output."""
        revision = revision_of(self.root)
        overrides = {
            variant.target: {
                "args": {"BASE": base.reference, "REVISION": revision},
                "labels": _labels(variant, base),
            }
            for variant, base in todo.items()
        }
        return bake.bake(self.engine.buildx, self.root, overrides, overrides)[1]


def _labels(variant: Variant, base: base_image.Base) -> dict[str, str]:
    """Return the labels about the base image. A stand-in does not have the locked digest."""
    unlike = {labels.BASE_DIGEST: ""} if base.standin and variant.base_digest else {}
    return {variant.matrix.labels.base_id: base.image_id, **unlike}


def pins(variants: Iterable[Variant]) -> dict[str, str | None]:
    """Return the digests that locks/bases.json pins the variants' bases to."""
    return {variant.base: variant.base_digest for variant in variants}


def _last(output: str) -> str:
    return next((line.strip() for line in reversed(output.splitlines()) if line.strip()), "")


def blamed(output: str) -> dict[str, str]:
    """Return target -> reason for the steps that failed in bake's plain progress output.

    A step's lines begin with its number: `#7 [TARGET STAGE 2/5] RUN …`, `#7 1.23 what it printed`, `#7 ERROR: …`.
    """
    found = {}
    for number, error in re.findall(r"^#(\d+) ERROR: (.+)$", output, re.MULTILINE):
        head = re.search(rf"^#{number} \[(\S+)[^]]*\]", output, re.MULTILINE)
        said = re.findall(rf"^#{number} [\d.]+ (.*\S)$", output, re.MULTILINE)
        complaints = [line.strip() for line in said if "error" in line.lower()]
        if head:
            found[head[1]] = (complaints or [error])[0]
    return found


def revision_of(folder: Path) -> str:
    """Return the commit that is checked out, with -dirty if the files are not those of the commit; or `unknown`."""
    try:
        found = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=40", "--match="],
            cwd=folder,
            capture_output=True,
            text=True,
        )
    except OSError:
        return "unknown"
    return found.stdout.strip() or "unknown"


def refuse_stale(folder: Path, rendered: Rendered, variants: Iterable[Variant]) -> None:
    """Raise UserError if a file that building these variants reads is not as it should be."""
    if found := stale(folder, rendered, variants):
        more = f" and {len(found) - 1} more" if len(found) > 1 else ""
        raise UserError(f"build/{found[0]}{more}: is stale; run: make generate")


def main(argv: list[str] | None = None) -> int:
    """Run the verb; return the exit status."""
    parser = cli.parser("Build and tag images on the engine. Images that are up to date are kept.")
    parser.add_argument("--dry-run", action="store_true", help="list what is out of date on the engine; build nothing")
    parser.add_argument("--json", action="store_true", help="print the outcomes as JSON")
    arguments = parser.parse_args(argv)
    matrix = load(arguments.root)
    variants = cli.select(matrix, arguments)
    rendered = render(matrix, arguments.root, cli.with_parents(variants))
    refuse_stale(arguments.root / "build", rendered, variants)
    if arguments.dry_run:
        if address.why_silent(address.configured_host()) is None:  # without an engine, nothing is built yet
            variants = Builder(engine.ensure(), arguments.root, rendered).stale(variants)
        for variant in variants:
            print(variant.name)
        return 0
    outcomes = Builder(engine.ensure(), arguments.root, rendered).build(variants)
    return status_of(print_outcomes(outcomes, as_json=arguments.json))


def status_of(counts: Mapping[str, int]) -> int:
    """Return 1 if any variant failed, or if nothing at all is there, else 0."""
    return 1 if counts["failed"] or not (counts["built"] or counts["current"]) else 0


if __name__ == "__main__":
    cli.run(main)
