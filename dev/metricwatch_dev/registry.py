"""The local image registry: what it holds, and what it need not hold any longer."""

import http.client
import shutil
import subprocess
from pathlib import Path

MANIFEST_TYPES = ", ".join(
    (
        "application/vnd.oci.image.manifest.v1+json",
        "application/vnd.docker.distribution.manifest.v2+json",
    )
)


def has_image(reference: str) -> bool:
    """Return whether the plain-HTTP registry named in the reference holds this tag."""
    host, _, rest = reference.partition("/")
    repository, _, tag = rest.rpartition(":")
    connection = http.client.HTTPConnection(host, timeout=5)
    try:
        connection.request(
            "HEAD", f"/v2/{repository}/manifests/{tag}", headers={"Accept": MANIFEST_TYPES}
        )
        return connection.getresponse().status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def remove_old_tags(content: Path, *, configuration: Path, program: Path, keep: int) -> bool:
    """Forget all but the newest tags of each image and free their room; return whether any went.

    Args:
        content: The registry's directory.
        configuration: The registry's configuration file.
        program: The registry's program, which also collects garbage.
        keep: How many tags of each image stay: what is installed may still name an older one.
    """
    removed = False
    for tags in content.glob("docker/registry/v2/repositories/metricwatch/*/_manifests/tags"):
        newest_first = sorted(tags.iterdir(), key=lambda tag: tag.stat().st_mtime, reverse=True)
        for tag in newest_first[keep:]:
            shutil.rmtree(tag)
            removed = True
    if removed:
        subprocess.run(
            [str(program), "garbage-collect", "--delete-untagged", str(configuration)],
            check=True,
            capture_output=True,
        )
    return removed
