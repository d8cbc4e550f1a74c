"""Ask an image registry what it holds."""

import http.client

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
