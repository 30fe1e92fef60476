"""`make push`: builds, tests, signs and tags in a registry what `make plan` says has changed.

Each variant is built for all platforms and pushed without a tag, pulled and started on each platform, described and
signed. Then the tags move, the moving tag last. A failure stops no other variant. The registry holds all state, so the
run after an interrupted one continues from there.
"""

import argparse
import json
import os
import queue
import tempfile
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from docker.errors import DockerException

from imagematrix import cli, labels
from imagematrix.build import bake
from imagematrix.console import say
from imagematrix.errors import UserError, explained
from imagematrix.machine import base_image, buildkit, cache, engine, images
from imagematrix.matrix.loading import load
from imagematrix.matrix.model import Destination, Variant
from imagematrix.outcome import Outcome, print_outcomes
from imagematrix.prove import provenance, sbom, sign, smoke
from imagematrix.publish import commit, plan
from imagematrix.publish.plan import Decision
from imagematrix.registry import Published, Registry, complaint, has_login, is_loopback
from imagematrix.render.isolation import stale
from imagematrix.render.render import JOBS, TAGS, Rendered, render


@dataclass
class Publisher:
    """Publishes variants.

    Each variant is then `pushed`, `tagged`, `current` (nothing to do) or `failed`.
    """

    root: Path
    context: Path  # build/ and the runtimes of the commit
    engine: engine.Engine
    registry: Registry
    where: Destination
    rendered: Rendered
    signer: sign.Signer | None
    builders: Sequence[str] = field(default_factory=list)

    def publish(self, decisions: Iterable[Decision]) -> list[Outcome]:
        """Carry out decisions, as many tags at once as there are builders; every variant has an outcome."""
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
            outcomes = {outcome.variant: outcome for several in pool.map(group, groups.values()) for outcome in several}
        return [outcomes[decision.variant] for decision in decisions]

    def attempt(self, decision: Decision, builder: str) -> Outcome:
        """Publish a variant. A failure becomes its outcome."""
        variant = decision.variant
        started = time.monotonic()
        try:
            outcome = self.carry_out(decision, builder)
        except (UserError, DockerException, OSError) as error:
            outcome = Outcome(variant, "failed", explained(error))
        if outcome.status != "current":
            say(f"{variant.name}: {outcome.status} in {time.monotonic() - started:.0f} s {outcome.reason}".rstrip())
        return outcome

    def carry_out(self, decision: Decision, builder: str) -> Outcome:
        """Carry out a decision. Raises UserError."""
        variant, repository = decision.variant, self.where.repository(decision.variant.image)
        if decision.action == "unknown":
            raise UserError(decision.reason)
        if decision.action == "keep" and decision.published:
            return Outcome(variant, "current", decision.reason, decision.published.digest)
        if decision.action == "tag" and decision.published:
            digest = decision.published.digest
            self.registry.tag(f"{repository}@{digest}", [f"{repository}:{tag}" for tag in decision.stale_tags])
            return Outcome(variant, "tagged", ", ".join(decision.stale_tags), digest)
        changed = commit.last_change(self.root, paths(variant))
        published = self.build(variant, builder, changed)
        try:
            self.prove(variant, published, changed)
            kept = self.move_tags(variant, published)
        except (UserError, DockerException, OSError) as error:
            left = f"{repository}@{published.digest} is pushed, its tags are not moved"
            raise UserError(f"{explained(error)}; {left}") from None
        return Outcome(variant, "pushed", "; ".join([decision.reason, *kept]), published.digest)

    def epoch_of(self, variant: Variant) -> int:
        """Return the time of all files in a variant: that of the last change of its root image.

        It is the same for a whole lineage, because parent and child share layers.
        """
        ancestor = variant.at(variant.image.lineage[0])
        return commit.last_change(self.root, paths(ancestor)).time

    def build(self, variant: Variant, builder: str, changed: commit.Commit) -> Published:
        """Build a variant for all its platforms and push it without a tag. Raises UserError."""
        say(f"{variant.name}: building for {', '.join(variant.matrix.platforms)} on {builder} …")
        repository = self.where.repository(variant.image)
        log = cache.log_path(f"push-{variant.target}")
        with tempfile.TemporaryDirectory(prefix="push-") as scratch, log.open("wb") as output:
            metadata = Path(scratch, "metadata.json")
            options = ["--builder", builder, "--metadata-file", str(metadata)]
            overrides = {variant.target: self.override(variant, changed)}
            built, _ = bake.bake(self.engine.buildx, self.context, overrides, overrides, options, output)
            if not built:
                raise UserError(f"{complaint(log.read_text(encoding='utf-8', errors='replace'))} (log: {log})")
            digest = json.loads(metadata.read_bytes())[variant.target]["containerimage.digest"]
        published = self.registry.inspect(f"{repository}@{digest}")
        if published is None or self.rendered.why_stale(variant, published.labels):
            raise UserError(f"the registry has not got what was pushed as {repository}@{digest}")
        return published

    def override(self, variant: Variant, changed: commit.Commit) -> dict[str, object]:
        """Return the settings that publishing adds to docker-bake.json.

        cosign makes the attestations, because those of BuildKit are in the index, and their times change its digest.
        """
        repository = self.where.repository(variant.image)
        arguments = {
            "SOURCE_DATE_EPOCH": str(self.epoch_of(variant)),
            "REVISION": changed.revision,
            "BUILDKIT_MULTI_PLATFORM": "1",
        }
        output = f"type=image,name={repository},push=true,push-by-digest=true,name-canonical=true"
        settings: dict[str, object] = {
            "args": arguments,
            "labels": {labels.CREATED: changed.moment.isoformat()},
            "platforms": list(variant.matrix.platforms),
            "tags": [],
            "attest": ["type=provenance,disabled=true", "type=sbom,disabled=true"],
            "output": [f"{output},oci-mediatypes=true,rewrite-timestamp=true,store=false"],
        }
        mirrored = mirror_of(variant)
        if mirrored != variant.pinned_base:
            settings["contexts"] = {variant.pinned_base: f"docker-image://{mirrored}"}
        return settings

    def prove(self, variant: Variant, published: Published, changed: commit.Commit) -> None:
        """Test the image of each platform, attach bill of materials and provenance, sign. Raises UserError."""
        repository, client = self.where.repository(variant.image), self.engine.client()
        said = {
            labels.REVISION: changed.revision,
            labels.CREATED: changed.moment.isoformat(),
            labels.BASE_NAME: variant.pinned_base,
            labels.BASE_DIGEST: variant.base_digest,
        }
        for platform in variant.matrix.platforms:
            if platform not in published.platforms:
                raise UserError(f"{platform} is not in {published.digest}")
            say(f"{variant.name}: starting it on {platform} …")
            with smoke.pulled(client, f"{repository}@{published.platforms[platform]}") as reference:
                smoke.check(client, reference, variant, platform, said)
                installed = sbom.read(client, reference, variant.python.version) if self.signer else []
            if self.signer:
                say(f"{variant.name}: attesting {len(installed)} distributions on {platform} …")
                contents = sbom.document(repository, published.platforms[platform], changed.moment, installed)
                origin, epoch = commit.origin(self.root), self.epoch_of(variant)
                source = provenance.document(variant, platform, origin, changed.revision, epoch)
                self.signer.attest(reference, sbom.PREDICATE, contents)
                self.signer.attest(reference, provenance.PREDICATE, source)
        if self.signer:
            self.signer.sign(f"{repository}@{published.digest}")

    def move_tags(self, variant: Variant, published: Published) -> list[str]:
        """Set the tags; return a line for each dated tag that names another image, because those never move."""
        repository, digest = self.where.repository(variant.image), published.digest
        moving, *others = variant.tags
        dated = {tag: self.registry.digest(f"{repository}:{tag}") for tag in plan.dated_tags(variant, published)}
        if first := [*(tag for tag, before in dated.items() if before is None), *others]:
            self.registry.tag(f"{repository}@{digest}", [f"{repository}:{tag}" for tag in first])
        # Last, because `plan` reads it: until it moves, the next run sets all tags again.
        self.registry.tag(f"{repository}@{digest}", [f"{repository}:{moving}"])
        return [f"{tag} is there already and stays" for tag, before in dated.items() if before not in (None, digest)]


def paths(variant: Variant) -> list[str]:
    """Return the folders of the inputs of a variant, as in imagematrix.render.render.input_digest."""
    return [
        variant.image.server.runtime,
        *(f"build/{variant.at(image).directory}" for image in variant.image.lineage),
    ]


def mirror_of(variant: Variant) -> str:
    """Return where a variant's base image is pulled from, with its digest."""
    return images.pull_reference(variant.pinned_base)


# --- refusals, all before anything is built ---


def refuse(root: Path, where: Destination, rendered: Rendered, variants: Sequence[Variant]) -> None:
    """Raise UserError if the commit cannot be published, or there is no login."""
    commit.refuse_unless_committed(root)
    if stale(root / "build", rendered, variants, also=(JOBS, TAGS)):
        raise UserError("build/ is stale: run make generate and commit")
    plan.refuse_unpinned(variants)
    if not is_loopback(where.registry) and not has_login(where.registry):
        raise UserError(f"no credentials for {where.registry}: docker login {where.registry}")


def refuse_stand_ins(registry: Registry, where: Destination, decisions: Iterable[Decision], *, allowed: bool) -> None:
    """Raise UserError if a base image is a stand-in. Stand-ins may go to a registry on loopback only."""
    todo = {decision.variant.base: decision.variant for decision in decisions if decision.action == "build"}
    for name, variant in todo.items():
        if allowed and is_loopback(where.registry):
            continue
        found = registry.inspect(mirror_of(variant))
        if name.startswith("standin/") or (found and base_image.is_standin(found.labels)):
            why = "--allow-stand-ins is for a registry on loopback" if allowed else "it proves and is never shipped"
            raise UserError(f"{name} is a stand-in at {mirror_of(variant)}: {why}")


# --- the command line ---


def main(argv: list[str] | None = None) -> int:
    """Run the verb; return the exit status: 1 if anything was left behind."""
    arguments = _parser().parse_args(argv)
    root, matrix = arguments.root, load(arguments.root)
    where = plan.destination(matrix, arguments.registry)
    variants = cli.select(matrix, arguments)
    rendered = render(matrix, root, cli.with_parents(variants))
    refuse(root, where, rendered, variants)
    host_engine = engine.ensure()
    registry = Registry(host_engine.buildx)
    decisions = plan.survey(registry, where, variants, rendered)
    refuse_stand_ins(registry, where, decisions, allowed=arguments.allow_stand_ins)
    signer = None if arguments.unsigned else sign.find()
    builders = [""]
    if any(decision.action == "build" for decision in decisions):
        builders = buildkit.builders(host_engine, arguments.builder, dry_run=arguments.dry_run)
    if arguments.dry_run:
        plan.print_decisions(decisions, as_json=arguments.json)
        return 1 if any(decision.action == "unknown" for decision in decisions) else 0
    with tempfile.TemporaryDirectory(prefix="context-") as context:
        runtimes = sorted({variant.image.server.runtime for variant in variants})
        commit.export(root, ["build", *runtimes], Path(context))
        publisher = Publisher(
            root=root,
            context=Path(context),
            engine=host_engine,
            registry=registry,
            where=where,
            rendered=rendered,
            signer=signer,
            builders=builders,
        )
        outcomes = publisher.publish(decisions)
    print_outcomes(outcomes, as_json=arguments.json)
    failed = [outcome.variant.name for outcome in outcomes if outcome.status == "failed"]
    if failed:
        say(f"left behind: {', '.join(failed)}; run the same command again to publish them")
    return 1 if failed else 0


def _parser() -> argparse.ArgumentParser:
    parser = plan.parser("Publish what has changed: build, test, sign, and set tags, the moving tag last.")
    parser.add_argument("--dry-run", action="store_true", help="check everything and print the plan; change nothing")
    parser.add_argument(
        "--builder",
        default=os.environ.get("BUILDER", ""),
        help="buildx builders, with commas: each takes tags as it gets free (default: $BUILDER, or one of our own)",
    )
    parser.add_argument("--unsigned", action="store_true", help="without signatures and attestations")
    parser.add_argument("--allow-stand-ins", action="store_true", help="for tests: to a registry on loopback only")
    return parser


if __name__ == "__main__":
    cli.run(main)
