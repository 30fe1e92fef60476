"""The provenance of an image, SLSA 1.0: the commit, the Dockerfile, the base image and the builder.

BuildKit's own provenance is in the image's index and has the time of the build, so every build would have another
digest. https://slsa.dev/spec/v1.0/provenance
"""

import os

from imagematrix import reference
from imagematrix.matrix.model import Variant

PREDICATE = "slsaprovenance1"
"""The name of this kind of attestation in cosign."""
_BUILD_TYPE = "https://mobyproject.org/buildkit@v1"


def document(variant: Variant, platform: str, origin: str, revision: str, epoch: int) -> dict[str, object]:
    """Return the statement about an image for one platform; `origin` is the repository's address or empty."""
    name = reference.parse(variant.base)
    digest = (variant.base_digest or "").removeprefix("sha256:")
    source = {"uri": f"git+{origin}" if origin else "git", "digest": {"gitCommit": revision}}
    package = f"pkg:docker/{name.name}@{name.tag or name.digest}?platform={platform}"
    base = {"uri": package, "digest": {"sha256": digest}}
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
        "runDetails": _run(variant.matrix.project.name),
    }


def _run(project: str) -> dict[str, object]:
    """Return the builder: the workflow and its run on GitHub, or else `make push`."""
    workflow, run = os.environ.get("GITHUB_WORKFLOW_REF"), os.environ.get("GITHUB_RUN_ID")
    if not workflow or not run:
        return {"builder": {"id": f"urn:{project}:make-push"}}
    server = os.environ["GITHUB_SERVER_URL"]
    url = f"{server}/{os.environ['GITHUB_REPOSITORY']}/actions/runs/{run}"
    return {"builder": {"id": f"{server}/{workflow}"}, "metadata": {"invocationId": url}}
