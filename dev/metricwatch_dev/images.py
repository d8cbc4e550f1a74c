"""Images from the shipped Dockerfiles: built when their content changed, and brought along."""

import json
import os
import shutil
import subprocess
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from metricwatch_dev import base_image, binaries
from metricwatch_dev.buildah import Buildah
from metricwatch_dev.cluster import kind
from metricwatch_dev.cluster.access import Cluster
from metricwatch_dev.cluster.local import local_layout
from metricwatch_dev.cluster.selection import ClusterKind
from metricwatch_dev.image_inputs import IMAGES, ImageSpec, content_tag
from metricwatch_dev.locking import file_lock
from metricwatch_dev.paths import REPOSITORY, cache_directory, cluster_directory
from metricwatch_dev.prerequisites import MissingPrerequisiteError
from metricwatch_dev.progress import step
from metricwatch_dev.registry import has_image, remove_old_tags

CERTIFICATES = Path("/etc/ssl/certs")
# A release that is installed may start pods of an image two changes old.
KEPT_TAGS = 3
# Build arguments a user may set, with the variable of the environment that sets them.
BUILD_ARGUMENTS = {
    "TORCH_INDEX_URL": "METRICWATCH_TORCH_INDEX_URL",
    "GPU": "METRICWATCH_TRAINER_GPU",
}


def ensure(cluster: Cluster, names: Iterable[str] = tuple(IMAGES)) -> dict[str, str]:
    """Return name → reference of images the cluster can run, building what changed.

    The same is written to `images.json` in the cluster's directory.

    Raises:
        MissingPrerequisiteError: An image cannot be built or brought to the cluster.
    """
    specs = [IMAGES[name] for name in names]
    arguments = _build_arguments(os.environ)
    with file_lock(cache_directory() / "images.lock", waiting_for="the images"):
        if cluster.kind is ClusterKind.LOCAL:
            references = _with_buildah(specs, arguments, registry=str(cluster.registry))
        else:
            references = _with_docker(specs, arguments, cluster)
    written = cluster_directory() / "images.json"
    written.parent.mkdir(parents=True, exist_ok=True)
    known = json.loads(written.read_text()) if written.exists() else {}
    written.write_text(json.dumps(known | references, indent=1, sort_keys=True))
    return references


def _with_buildah(
    specs: list[ImageSpec], arguments: Mapping[str, str], *, registry: str
) -> dict[str, str]:
    salt = (base_image.reference(), *sorted(f"{k}={v}" for k, v in arguments.items()))
    references = {spec.name: _reference(spec, registry=registry, salt=salt) for spec in specs}
    missing = [spec for spec in specs if not has_image(references[spec.name])]
    if not missing:
        return references
    with Buildah.of_cache() as buildah:
        _build(buildah, missing, references, arguments)
    remove_old_tags(
        cache_directory() / "registry",
        configuration=local_layout().configuration / "registry.yml",
        program=binaries.ensure_containers() / "docker-registry",
        keep=KEPT_TAGS,
    )
    return references


def _build(
    buildah: Buildah,
    missing: list[ImageSpec],
    references: Mapping[str, str],
    arguments: Mapping[str, str],
) -> None:
    base = base_image.ensure(buildah)

    def build(spec: ImageSpec) -> None:
        with step(f"image {references[spec.name]}"):
            buildah.build(
                REPOSITORY / spec.dockerfile,
                context=REPOSITORY,
                tag=references[spec.name],
                arguments={"BASE_IMAGE": base, **arguments},
                volumes=_volumes() if spec.installs_wheels else {},
            )
            buildah.push(references[spec.name])

    # The first alone: it makes the layers the others share.
    build(missing[0])
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(build, missing[1:]))
    buildah.remove_other_tags([references[spec.name] for spec in missing])


def _with_docker(
    specs: list[ImageSpec], arguments: Mapping[str, str], cluster: Cluster
) -> dict[str, str]:
    if cluster.kind is ClusterKind.OWN and not cluster.registry:
        raise MissingPrerequisiteError(
            "your own cluster must be able to pull the images: name a registry that you may push "
            "to and it may pull from, with --registry or METRICWATCH_REGISTRY=host/path."
        )
    if shutil.which("docker") is None:
        raise MissingPrerequisiteError(
            "docker is needed to build images for a cluster of yours: install it, or unset "
            "KUBECONFIG to get a local cluster that builds without it."
        )
    registry = cluster.registry or "localhost"
    salt = tuple(sorted(f"{k}={v}" for k, v in arguments.items()))
    references = {spec.name: _reference(spec, registry=registry, salt=salt) for spec in specs}
    for spec in specs:
        reference = references[spec.name]
        if _docker("image", "inspect", reference).returncode != 0:
            with step(f"image {reference}"):
                options = [f"--build-arg={name}={value}" for name, value in arguments.items()]
                dockerfile = str(REPOSITORY / spec.dockerfile)
                _docker_checked(
                    "build", *options, "-t", reference, "-f", dockerfile, str(REPOSITORY)
                )
        if cluster.kind is ClusterKind.KIND:
            kind.load_image(reference)
        else:
            _docker_checked("push", reference)
    return references


def _reference(spec: ImageSpec, *, registry: str, salt: tuple[str, ...]) -> str:
    tag = content_tag(spec, repository=REPOSITORY, salt=salt)
    return f"{registry}/metricwatch/{spec.name}:{tag}"


def _build_arguments(environment: Mapping[str, str]) -> dict[str, str]:
    chosen = {
        name: environment[variable]
        for name, variable in BUILD_ARGUMENTS.items()
        if environment.get(variable)
    }
    # A development cluster has no GPU, and the image is two gigabytes smaller without.
    return {"GPU": "no"} | chosen


def _volumes() -> dict[Path, str]:
    # Wheels are downloaded once, for the images and for the development environment.
    wheels = cache_directory() / "uv"
    wheels.mkdir(parents=True, exist_ok=True)
    volumes = {wheels: "/root/.cache/uv"}
    if CERTIFICATES.is_dir():
        # A machine behind a proxy that signs TLS anew has that proxy's authority there.
        volumes[CERTIFICATES] = f"{CERTIFICATES}:ro"
    return volumes


def _docker(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["docker", *arguments], capture_output=True, text=True, check=False)


def _docker_checked(*arguments: str) -> None:
    done = _docker(*arguments)
    if done.returncode != 0:
        lines = (done.stderr.strip() or done.stdout.strip()).splitlines()[-15:]
        raise MissingPrerequisiteError(
            f"docker {arguments[0]} failed:\n    " + "\n    ".join(lines)
        )
