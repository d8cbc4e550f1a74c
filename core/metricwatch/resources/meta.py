"""Identity of the API and the part of `metadata` that decisions look at."""

from typing import Annotated

from pydantic import ConfigDict, Field

from metricwatch.resources.formats import StatusTime
from metricwatch.resources.schema import ApiModel

GROUP = "metricwatch.io"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"
RETRAIN_ANNOTATION = f"{GROUP}/retrain-requested-at"
PROMOTE_ANNOTATION = f"{GROUP}/promote-version"


class Metadata(ApiModel):
    """What the API server keeps about an object; unknown fields are passed over."""

    model_config = ConfigDict(extra="ignore")

    name: Annotated[str, Field(min_length=1, max_length=253)]
    namespace: str = "default"
    uid: str = ""
    generation: int = 0
    resource_version: str = ""
    labels: dict[str, str] = Field(default_factory=dict)
    annotations: dict[str, str] = Field(default_factory=dict)
    finalizers: tuple[str, ...] = ()
    creation_timestamp: StatusTime | None = None
    deletion_timestamp: StatusTime | None = None
