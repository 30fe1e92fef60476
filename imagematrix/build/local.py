"""`make build`: builds and tags variants on the engine through `docker buildx bake`, and says what became of each.

BuildKit does the graph, the parallelism and the cache; here is only decided what needs building at all, which base
each variant gets on this machine, and how to go on when one of them fails, because bake gives up all when one does.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from docker.errors import ImageNotFound

from imagematrix import cli
from imagematrix.errors import UserError
from imagematrix.machine import bases, engine
from imagematrix.machine.host import say
from imagematrix.matrix.loading import load
from imagematrix.matrix.model import LABELS, Variant
from imagematrix.render.render import INPUTS_LABEL, input_digest, render
from imagematrix.render.tree import compare

BASE_ID_LABEL = f"{LABELS}.base"
"""The ID of the base image that a variant was built on."""


@dataclass(frozen=True)
class Outcome:
    """What became of a variant: `built`, `current` (nothing to do), `not built` or `failed`, and why."""

    variant: Variant
    status: str
    reason: str = ""


class Builder:
    """Builds variants on one engine."""

    def __init__(self, host: engine.Engine, folder: Path, inputs: Mapping[Variant, str]) -> None:
        self.engine, self.folder, self.inputs = host, folder, inputs
        self.client = host.client()

    def build(self, variants: Iterable[Variant], *, force: bool = False) -> list[Outcome]:
        """Build what is not current (with `force` all of it); every variant has an outcome."""
        variants = list(variants)
        found = bases.obtain(self.engine, (variant.base for variant in variants), say, pins(variants))
        outcomes: dict[Variant, Outcome] = {}
        todo: dict[Variant, bases.Base] = {}
        for variant in variants:
            base = found[variant.base]
            if isinstance(base, bases.Unavailable):
                outcomes[variant] = Outcome(variant, "failed" if base.refused else "not built", base.reason)
            elif force or not self.is_current(variant, base):
                todo[variant] = base
            else:
                outcomes[variant] = Outcome(variant, "current")
        if todo:
            outcomes.update(self.bake(todo, force=force))
        return [outcomes[variant] for variant in variants]

    def stale(self, variants: Iterable[Variant], *, force: bool = False) -> tuple[Variant, ...]:
        """Return those that `build` would build. Nothing is pulled, made or built."""
        variants = list(variants)
        found = bases.present(self.engine, (variant.base for variant in variants), pins(variants))

        def is_stale(variant: Variant) -> bool:
            base = found.get(variant.base)
            if isinstance(base, bases.Unavailable):
                return False
            return base is None or force or not self.is_current(variant, base)

        return tuple(variant for variant in variants if is_stale(variant))

    def is_current(self, variant: Variant, base: bases.Base) -> bool:
        """Say whether the engine has this very image, on that base, under all its tags already."""
        ids = set()
        for reference in variant.references:
            try:
                image = self.client.images.get(reference)
            except ImageNotFound:
                return False
            ids.add(image.id)
            labels = image.labels
            if labels.get(INPUTS_LABEL) != self.inputs[variant] or labels.get(BASE_ID_LABEL) != base.image_id:
                return False
        return len(ids) == 1

    def bake(self, todo: Mapping[Variant, bases.Base], *, force: bool = False) -> dict[Variant, Outcome]:
        """Bake all at once; when one fails, bake gives the others up too, so go on without it until all are through."""
        outcomes: dict[Variant, Outcome] = {}
        left = dict(todo)
        with tempfile.TemporaryDirectory(prefix="bake-") as scratch:
            override = Path(scratch, "override.json")
            override.write_text(json.dumps(self.override(todo)), encoding="utf-8")
            at_once = len(left)
            while left:
                targets = list(left)[:at_once]
                succeeded, output = self.run([variant.target for variant in targets], override)
                # With `force` an image may be current and still the old one, unless bake says that it built them all.
                maybe = () if force and not succeeded else targets if force else left
                done = {one for one in maybe if self.is_current(one, todo[one])}
                outcomes.update({variant: Outcome(variant, "built") for variant in done})
                reasons = blamed(output)
                if len(targets) == 1:  # then it is its fault, and bake leaves its name out of the steps
                    said = _last(output) or "bake built it, but the engine has it not"
                    reasons = {targets[0].target: next(iter(reasons.values()), said)}
                for variant in targets:
                    if variant not in done and variant.target in reasons:
                        outcomes[variant] = Outcome(variant, "failed", reasons[variant.target])
                before, left = left, {one: base for one, base in left.items() if one not in outcomes}
                if len(left) == len(before):
                    at_once = 1
                if left:
                    say(f"going on with {len(left)} that were interrupted")
        return outcomes

    def override(self, todo: Mapping[Variant, bases.Base]) -> dict[str, object]:
        """Return what this machine adds to build/docker-bake.json: bases, revision, secrets."""
        secrets = [f"id={name},src={path}" for name, path in engine.build_secrets().items()]
        revision = revision_of(self.folder)
        return {
            "target": {
                variant.target: {
                    "args": {"BASE": base.reference, "REVISION": revision},
                    "labels": {BASE_ID_LABEL: base.image_id},
                    "secret": secrets,
                }
                for variant, base in todo.items()
            }
        }

    def run(self, targets: list[str], override: Path) -> tuple[bool, str]:
        """Run bake, its progress going where ours goes; return whether it built all of them, and what it said.

        On a terminal its display is left alone, and only a second run, with plain progress, tells what failed.
        """
        command = [*self.engine.buildx, "bake", "-f", "docker-bake.json", "-f", str(override)]
        # Asked for the files of secrets, which lie outside of the context:
        # https://docs.docker.com/reference/cli/docker/buildx/bake/#allow
        environment = {**os.environ, "BUILDX_BAKE_ENTITLEMENTS_FS": "0", "DOCKER_BUILDKIT": "1"}
        if sys.stderr.isatty():
            done = subprocess.run([*command, *targets], cwd=self.folder, env=environment)
            if done.returncode == 0:
                return True, ""
        return _tee([*command, "--progress", "plain", *targets], self.folder, environment)


def pins(variants: Iterable[Variant]) -> dict[str, str | None]:
    """Return the digests that locks/bases.json pins the variants' bases to."""
    return {variant.base: variant.base_digest for variant in variants}


def _tee(command: list[str], folder: Path, environment: Mapping[str, str]) -> tuple[bool, str]:
    """Run a command, pass its output on as it comes; return whether it succeeded, and its output."""
    lines = []
    with subprocess.Popen(
        command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        assert process.stdout
        for line in process.stdout:
            sys.stderr.write(line)
            lines.append(line)
    return process.returncode == 0, "".join(lines)


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


def main(argv: list[str] | None = None) -> int:
    """Run the verb; return the exit status."""
    parser = cli.parser("Build and tag images on the engine; what is already there as it should be is left alone.")
    parser.add_argument("--force", action="store_true", help="build also what is current (the layer cache still holds)")
    parser.add_argument("--dry-run", action="store_true", help="list what is out of date on the engine; build nothing")
    parser.add_argument("--json", action="store_true", help="print the outcomes as JSON")
    arguments = parser.parse_args(argv)
    matrix = load(arguments.root)
    variants = cli.select(matrix, arguments)
    folder = arguments.root / "build"
    files = render(matrix, arguments.root)
    if compare(folder, files).any:
        raise UserError("build/ is not what matrix.yaml, templates/ and runtime/ say; run: make generate")
    inputs = {variant: input_digest(variant, files) for variant in variants}
    if arguments.dry_run:
        if engine.why_silent(engine.configured_host()) is None:  # without an engine there is nothing yet
            variants = Builder(engine.ensure(say), folder, inputs).stale(variants, force=arguments.force)
        for variant in variants:
            print(variant.name)
        return 0
    outcomes = Builder(engine.ensure(say), folder, inputs).build(variants, force=arguments.force)
    return report(outcomes, as_json=arguments.json)


def report(outcomes: list[Outcome], *, as_json: bool = False) -> int:
    """Print what became of each variant; return 1 if any failed, or if nothing at all is there, else 0."""
    counts = {status: sum(one.status == status for one in outcomes) for status in _STATUSES}
    if as_json:
        rows = [{"variant": one.variant.name, "status": one.status, "reason": one.reason} for one in outcomes]
        print(json.dumps(rows, indent=2, ensure_ascii=False))
    elif counts["current"] < len(outcomes):
        cli.table(("variant", "status", "reason"), ((one.variant.name, one.status, one.reason) for one in outcomes))
    say(", ".join(f"{count} {status}" for status, count in counts.items() if count))
    return 1 if counts["failed"] or not (counts["built"] or counts["current"]) else 0


_STATUSES = ("built", "current", "not built", "failed")


if __name__ == "__main__":
    cli.run(main)
