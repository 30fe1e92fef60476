"""Where an image comes from, as a SLSA provenance statement: which commit, which file of it, which base, built by whom.

BuildKit can write one itself, but into the image's index, and with the time of the build: the same content would get
another digest with every build. https://slsa.dev/spec/v1.0/provenance
"""

import os

from imagematrix import reference
from imagematrix.matrix.model import Variant

PREDICATE = "slsaprovenance1"
"""What cosign calls this kind of attestation."""
_BUILD_TYPE = "https://mobyproject.org/buildkit@v1"


def document(variant: Variant, platform: str, origin: str, revision: str, epoch: int) -> dict[str, object]:
    """Return the statement about a variant's image for one platform; `origin` is the repository's address, if any."""
    name = reference.parse(variant.base)
    digest = (variant.base_digest or "").removeprefix("sha256:")
    source = {"uri": f"git+{origin}" if origin else "git", "digest": {"gitCommit": revision}}
    base = {"uri": f"pkg:docker/{name.name}@{name.tag}?platform={platform}", "digest": {"sha256": digest}}
    return {
        "buildDefinition": {
            "buildType": _BUILD_TYPE,
            "externalParameters": {
                "configSource": {**source, "path": f"build/{variant.directory}/Dockerfile"},
                "platform": platform,
                "args": {"SOURCE_DATE_EPOCH": str(epoch), "REVISION": revision},
            },
            "resolvedDependencies": [source, base],
        },
        "runDetails": {"builder": {"id": _builder(variant.matrix.project.name)}, **_run()},
    }


def _builder(project: str) -> str:
    """Name who built: the workflow on GitHub, by its own variables, else whoever runs this."""
    workflow = os.environ.get("GITHUB_WORKFLOW_REF")
    return f"{os.environ['GITHUB_SERVER_URL']}/{workflow}" if workflow else f"urn:{project}:make-push"


def _run() -> dict[str, object]:
    run = os.environ.get("GITHUB_RUN_ID")
    if not run:
        return {}
    url = f"{os.environ['GITHUB_SERVER_URL']}/{os.environ['GITHUB_REPOSITORY']}/actions/runs/{run}"
    return {"metadata": {"invocationId": url}}
