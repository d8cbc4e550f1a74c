"""The image that holds a pod's namespaces: a busybox that sleeps. It also serves small tests."""

import tempfile
from pathlib import Path

from metricwatch_dev import binaries, debian
from metricwatch_dev.buildah import Buildah
from metricwatch_dev.cluster.layout import PAUSE_IMAGE
from metricwatch_dev.registry import has_image

DOCKERFILE = """\
FROM scratch
COPY busybox /bin/busybox
COPY busybox /bin/sh
USER 65532:65532
ENTRYPOINT ["/bin/busybox", "sleep", "infinity"]
"""


def ensure_pause_image() -> None:
    """Put the image into the local registry unless it is there."""
    if has_image(PAUSE_IMAGE):
        return
    busybox = debian.program(binaries.containers_prefix(), "busybox")
    with tempfile.TemporaryDirectory(prefix="metricwatch-pause-") as name:
        context = Path(name)
        (context / "Dockerfile").write_text(DOCKERFILE)
        (context / "busybox").write_bytes(busybox.read_bytes())
        (context / "busybox").chmod(0o755)
        with Buildah.of_cache() as buildah:
            buildah.build(context / "Dockerfile", context=context, tag=PAUSE_IMAGE)
            buildah.push(PAUSE_IMAGE)
