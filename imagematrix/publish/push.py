"""`make push`: builds, proves, signs and tags in a registry what `make plan` says has changed.

Each variant goes its own way, and a failure is its own: built and pushed without a tag, for all platforms; pulled again
and started on each; described, signed; and only then do tags move, the moving tag last. No state is kept anywhere else,
so whatever interrupts a run, the next one goes on from what the registry has.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import queue
import subprocess
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from docker.errors import DockerException

from imagematrix import cli
from imagematrix.errors import UserError, explained
from imagematrix.machine import bases, buildkit, engine, host
from imagematrix.machine.host import say
from imagematrix.matrix.loading import load
from imagematrix.matrix.model import Matrix, Variant
from imagematrix.prove import provenance, sbom, sign, smoke
from imagematrix.publish import commit, plan
from imagematrix.publish.plan import Decision
from imagematrix.registry import Published, Registry, complaint, has_login, host_of, is_loopback
from imagematrix.render.render import INPUTS_LABEL, Files, input_digest, render
from imagematrix.render.tree import compare

REVISION_LABEL = "org.opencontainers.image.revision"


@dataclass(frozen=True)
class Outcome:
    """What became of a variant: `pushed`, `tagged`, `current`, `failed` or, in a dry run, what would be done."""

    variant: Variant
    status: str
    reason: str = ""
    digest: str | None = None


@dataclass
class Publisher:
    """Publishes variants: all that one run of `make push` needs to know."""

    root: Path
    context: Path  # build/ of the commit
    engine: engine.Engine
    registry: Registry
    inputs: Mapping[Variant, str]
    signer: sign.Signer | None
    day: datetime.date
    epoch: int | None  # SOURCE_DATE_EPOCH, if it is set
    builders: Sequence[str] = field(default_factory=list)

    def publish(self, decisions: Iterable[Decision]) -> list[Outcome]:
        """Publish what was decided, as many tags at once as there are builders; every variant has an outcome."""
        decisions = list(decisions)
        groups: dict[str, list[Decision]] = {}
        for decision in decisions:
            groups.setdefault(decision.variant.tag, []).append(decision)
        free: queue.SimpleQueue[str] = queue.SimpleQueue()
        for builder in self.builders:
            free.put(builder)

        def group(members: list[Decision]) -> list[Outcome]:
            builder = free.get()
            try:  # one builder for all images of a tag: they share layers
                return [self.attempt(decision, builder) for decision in members]
            finally:
                free.put(builder)

        with ThreadPoolExecutor(max(1, len(self.builders))) as pool:
            outcomes = {one.variant: one for several in pool.map(group, groups.values()) for one in several}
        return [outcomes[decision.variant] for decision in decisions]

    def attempt(self, decision: Decision, builder: str) -> Outcome:
        """Publish one variant; what goes wrong becomes its outcome."""
        variant = decision.variant
        started = time.monotonic()
        try:
            outcome = self.one(decision, builder)
        except (UserError, DockerException, OSError) as error:
            outcome = Outcome(variant, "failed", explained(error))
        if outcome.status != "current":
            say(f"{variant.name}: {outcome.status} in {time.monotonic() - started:.0f} s {outcome.reason}".rstrip())
        return outcome

    def one(self, decision: Decision, builder: str) -> Outcome:
        """Do what was decided about a variant. Raises UserError."""
        variant, repository = decision.variant, decision.variant.matrix.repository(decision.variant.image)
        if decision.action == "unknown":
            raise UserError(decision.reason)
        if decision.action == "keep" and decision.published:
            return Outcome(variant, "current", decision.reason, decision.published.digest)
        if decision.action == "tag" and decision.published:
            digest = decision.published.digest
            self.registry.tag(f"{repository}@{digest}", [f"{repository}:{tag}" for tag in decision.stale_tags])
            return Outcome(variant, "tagged", ", ".join(decision.stale_tags), digest)
        revision = commit.last_change(self.root, paths(variant))
        published = self.build(variant, builder, revision.revision, self.epoch_of(variant))
        try:
            self.prove(variant, published, revision.revision)
            kept = self.move_tags(variant, published.digest)
        except (UserError, DockerException, OSError) as error:
            left = f"{repository}@{published.digest} is pushed, its tags are not moved"
            raise UserError(f"{explained(error)}; {left}") from None
        return Outcome(variant, "pushed", "; ".join([decision.reason, *kept]), published.digest)

    def epoch_of(self, variant: Variant) -> int:
        """Return the time that everything in a variant gets: that of its first ancestor's last change.

        The same for a whole lineage, because layers that parent and child share hold times.
        """
        ancestor = variant.at(variant.image.lineage[0])
        return self.epoch if self.epoch is not None else commit.last_change(self.root, paths(ancestor)).time

    def build(self, variant: Variant, builder: str, revision: str, epoch: int) -> Published:
        """Build a variant for all its platforms and push it without a tag. Raises UserError."""
        say(f"{variant.name}: building for {', '.join(variant.matrix.platforms)} on {builder} …")
        repository = variant.matrix.repository(variant.image)
        with tempfile.TemporaryDirectory(prefix="push-") as scratch:
            override, metadata = Path(scratch, "override.json"), Path(scratch, "metadata.json")
            override.write_text(json.dumps(self.override(variant, revision, epoch)), encoding="utf-8")
            command = [*self.engine.buildx, "bake", "--builder", builder, "--progress", "plain"]
            command += ["-f", "docker-bake.json", "-f", str(override), "--metadata-file", str(metadata), variant.target]
            self.bake(command, variant)
            digest = json.loads(metadata.read_bytes())[variant.target]["containerimage.digest"]
        published = self.registry.inspect(f"{repository}@{digest}")
        if published is None or published.labels.get(INPUTS_LABEL) != self.inputs[variant]:
            raise UserError(f"the registry has not got what was pushed as {repository}@{digest}")
        return published

    def bake(self, command: list[str], variant: Variant) -> None:
        """Run bake with its output in a log. Raises UserError with the line in which it complains."""
        log = host.log_path(f"push-{variant.target}")
        environment = {**os.environ, "BUILDX_BAKE_ENTITLEMENTS_FS": "0"}  # as in imagematrix.build.local
        with log.open("wb") as output:
            done = subprocess.run(
                command, cwd=self.context, env=environment, stdout=output, stderr=subprocess.STDOUT, check=False
            )
        if done.returncode:
            raise UserError(f"{complaint(log.read_text(encoding='utf-8', errors='replace'))} (log: {log})")

    def override(self, variant: Variant, revision: str, epoch: int) -> dict[str, object]:
        """Return what publishing adds to docker-bake.json.

        Attestations are not BuildKit's but cosign's: in the index, their times would change its digest.
        """
        repository = variant.matrix.repository(variant.image)
        arguments = {"SOURCE_DATE_EPOCH": str(epoch), "REVISION": revision, "BUILDKIT_MULTI_PLATFORM": "1"}
        output = f"type=image,name={repository},push=true,push-by-digest=true,name-canonical=true"
        target: dict[str, object] = {
            "args": arguments,
            "labels": {"org.opencontainers.image.base.digest": variant.base_digest},
            "platforms": list(variant.matrix.platforms),
            "secret": [f"id={name},src={path}" for name, path in engine.build_secrets().items()],
            "tags": [],
            "attest": ["type=provenance,disabled=true", "type=sbom,disabled=true"],
            "output": [f"{output},oci-mediatypes=true,rewrite-timestamp=true,store=false"],
        }
        mirrored = mirror_of(variant)
        if mirrored != variant.pinned_base:
            target["contexts"] = {variant.pinned_base: f"docker-image://{mirrored}"}
        return {"target": {variant.target: target}}

    def prove(self, variant: Variant, published: Published, revision: str) -> None:
        """Start the image of each platform, attach what is in it and where it comes from, sign. Raises UserError."""
        repository, client = variant.matrix.repository(variant.image), self.engine.client()
        labels = {REVISION_LABEL: revision, plan.BASE_NAME_LABEL: variant.pinned_base}
        for platform in variant.matrix.platforms:
            if platform not in published.platforms:
                raise UserError(f"{platform} is not in {published.digest}")
            say(f"{variant.name}: starting it on {platform} …")
            with smoke.pulled(client, f"{repository}@{published.platforms[platform]}") as reference:
                smoke.check(client, reference, variant, platform, labels)
                installed = sbom.read(client, reference, variant.python.version) if self.signer else []
            if self.signer:
                say(f"{variant.name}: attesting {len(installed)} distributions on {platform} …")
                contents = sbom.document(repository, published.platforms[platform], installed)
                origin, epoch = commit.origin(self.root), self.epoch_of(variant)
                source = provenance.document(variant, platform, origin, revision, epoch)
                self.signer.attest(reference, sbom.PREDICATE, contents)
                self.signer.attest(reference, provenance.PREDICATE, source)
        if self.signer:
            self.signer.sign(f"{repository}@{published.digest}")

    def move_tags(self, variant: Variant, digest: str) -> list[str]:
        """Have the variant's tags name the digest; return what is to be said of the dated one, which never moves."""
        repository = variant.matrix.repository(variant.image)
        dated, (moving, *others) = variant.dated_tag(self.day), variant.tags
        before = self.registry.digest(f"{repository}:{dated}")
        first = [*([dated] if before is None else []), *others]
        self.registry.tag(f"{repository}@{digest}", [f"{repository}:{tag}" for tag in first])
        # Last, because `plan` looks at it: as long as it is the old one, the next run does all of this again.
        self.registry.tag(f"{repository}@{digest}", [f"{repository}:{moving}"])
        return [f"{dated} is there already and stays"] if before not in (None, digest) else []


def paths(variant: Variant) -> list[str]:
    """Return the folders that a variant is built from, as imagematrix.render.render.input_digest has them."""
    return [
        f"build/{variant.image.server.runtime}",
        *(f"build/{variant.at(image).directory}" for image in variant.image.lineage),
    ]


def mirror_of(variant: Variant) -> str:
    """Return where a variant's base comes from, with its digest."""
    return f"{bases.pull_reference(variant.base)}@{variant.base_digest}"


# --- refusals, all before anything is built ---


def refuse(root: Path, matrix: Matrix, files: Files, variants: Iterable[Variant]) -> None:
    """Raise UserError if the commit is not fit to be published, or nobody is logged in."""
    commit.refuse_unless_committed(root)
    if compare(root / "build", files).any:
        raise UserError("build/ is stale: run make generate and commit")
    plan.refuse_unpinned(variants)
    where = host_of(matrix.repository(matrix.images[0]))
    if not is_loopback(where) and not has_login(where):
        raise UserError(f"no credentials for {where}: docker login {where}")


def refuse_stand_ins(registry: Registry, decisions: Iterable[Decision], *, allowed: bool) -> None:
    """Raise UserError if a base of what is to be built is a stand-in. A stand-in may go to a loopback registry only."""
    todo = {one.variant.base: one.variant for one in decisions if one.action == "build"}
    for name, variant in todo.items():
        if allowed and is_loopback(host_of(variant.matrix.repository(variant.image))):
            continue
        found = registry.inspect(mirror_of(variant))
        if name.startswith("standin/") or (found and bases.STANDIN_LABEL in found.labels):
            why = "--allow-stand-ins is for a registry on loopback" if allowed else "it proves and is never shipped"
            raise UserError(f"{name} is a stand-in at {mirror_of(variant)}: {why}")


# --- the command line ---


def main(argv: list[str] | None = None) -> int:
    """Run the verb; return the exit status: 1 if anything was left behind."""
    arguments = _parser().parse_args(argv)
    root, matrix = arguments.root, load(arguments.root)
    files = render(matrix, root)
    matrix = plan.relocated(matrix, arguments.registry)
    variants = cli.select(matrix, arguments)
    refuse(root, matrix, files, variants)
    host_engine = engine.ensure(say)
    registry = Registry(host_engine.buildx)
    inputs = {variant: input_digest(variant, files) for variant in matrix.variants}
    decisions = plan.survey(registry, variants, inputs)
    refuse_stand_ins(registry, decisions, allowed=arguments.allow_stand_ins)
    signer = None if arguments.unsigned else sign.find(say)
    epoch = os.environ.get("SOURCE_DATE_EPOCH")
    day = arguments.date or day_of(epoch)
    building = any(one.action == "build" for one in decisions)
    if building:
        buildkit.named_builders(host_engine, arguments.builder)
    if arguments.dry_run:
        plan.report(decisions, as_json=arguments.json)
        return 1 if any(one.action == "unknown" for one in decisions) else 0
    with tempfile.TemporaryDirectory(prefix="context-") as context:
        commit.export(root, "build", Path(context))
        publisher = Publisher(
            root=root,
            context=Path(context),
            engine=host_engine,
            registry=registry,
            inputs=inputs,
            signer=signer,
            day=day,
            epoch=int(epoch) if epoch else None,
            builders=buildkit.builders(host_engine, arguments.builder, say) if building else [""],
        )
        return report(publisher.publish(decisions), as_json=arguments.json)


def _parser() -> argparse.ArgumentParser:
    parser = plan.parser("Publish what has changed: build, prove, sign, and move tags, the moving one last.")
    parser.add_argument("--dry-run", action="store_true", help="check everything and print the plan; change nothing")
    parser.add_argument("--date", type=_day, help="the day of the dated tags (default: SOURCE_DATE_EPOCH's, or today)")
    parser.add_argument(
        "--builder",
        default=os.environ.get("BUILDER", ""),
        help="buildx builders, with commas: each takes tags as it gets free (default: $BUILDER, or one of our own)",
    )
    parser.add_argument("--unsigned", action="store_true", help="without signatures and attestations")
    parser.add_argument("--allow-stand-ins", action="store_true", help="for tests: to a registry on loopback only")
    return parser


def _day(text: str) -> datetime.date:
    """Read a day such as 20261122. Raises ValueError, which argparse turns into its own error."""
    return datetime.datetime.strptime(text, "%Y%m%d").date()


def day_of(epoch: str | None) -> datetime.date:
    """Return the day, in UTC, of a SOURCE_DATE_EPOCH, or today's."""
    if epoch is not None and not epoch.isdigit():
        raise UserError(f"SOURCE_DATE_EPOCH={epoch}: a number of seconds is allowed")
    seconds = int(epoch) if epoch else time.time()
    return datetime.datetime.fromtimestamp(seconds, datetime.timezone.utc).date()


def report(outcomes: list[Outcome], *, as_json: bool) -> int:
    """Print what became of each variant, and last what was left behind; return 1 if anything was."""
    if as_json:
        rows = [
            {"variant": one.variant.name, "status": one.status, "reason": one.reason, "digest": one.digest}
            for one in outcomes
        ]
        print(json.dumps(rows, indent=2, ensure_ascii=False))
    else:
        cli.table(
            ("variant", "status", "digest", "reason"),
            ((one.variant.name, one.status, one.digest or "", one.reason) for one in outcomes),
        )
    failed = [one.variant.name for one in outcomes if one.status == "failed"]
    counts = {status: sum(one.status == status for one in outcomes) for status in _STATUSES}
    say(", ".join(f"{count} {status}" for status, count in counts.items() if count))
    if failed:
        say(f"left behind: {', '.join(failed)}; run the same command again to publish them")
    return 1 if failed else 0


_STATUSES = ("pushed", "tagged", "current", "failed")


if __name__ == "__main__":
    cli.run(main)
