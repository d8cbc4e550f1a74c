"""What this machine must offer, and the one clear line when it does not."""

import os
import shutil

ALTERNATIVES = (
    "Another way: start docker and install kind, or point KUBECONFIG (or --context) at a cluster "
    "of yours."
)


class MissingPrerequisiteError(Exception):
    """Something this machine lacks; the text is one line that says what to do about it."""


def require_program(name: str, *, why: str, install: str) -> str:
    """Return the path of a program on PATH.

    Raises:
        MissingPrerequisiteError: It is not there.
    """
    found = shutil.which(name)
    if found is None:
        raise MissingPrerequisiteError(f"{name} is needed {why}: {install}. {ALTERNATIVES}")
    return found


def require_root(*, why: str) -> None:
    """Check that the effective user is root.

    Raises:
        MissingPrerequisiteError: It is not.
    """
    if os.geteuid() != 0:
        raise MissingPrerequisiteError(f"root is needed {why}: use sudo -E. {ALTERNATIVES}")
