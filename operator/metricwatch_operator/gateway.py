"""Requests to the API server: server-side apply, create, delete, and what an answer means.

Paths are built from a small table instead of discovery, so no request is made that the role does
not name. Answers stay plain dictionaries: typed models refuse fields that a newer server adds.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Callable
from typing import Any

import aiohttp
import msgspec
from aiohttp.connector import Connection
from kubernetes.aio import client, config
from kubernetes.aio.client.exceptions import ApiException
from kubernetes.aio.dynamic import DynamicClient

from metricwatch_operator.errors import (
    ApiError,
    Away,
    Conflict,
    Expired,
    Forbidden,
    NotFound,
    Retryable,
    Terminal,
)
from metricwatch_operator.objects import Manifest, Ref

FIELD_MANAGER = "metricwatch-operator"

_PLURALS = {
    ("v1", "Pod"): "pods",
    ("v1", "Secret"): "secrets",
    ("v1", "Namespace"): "namespaces",
    ("apps/v1", "Deployment"): "deployments",
    ("batch/v1", "Job"): "jobs",
    ("coordination.k8s.io/v1", "Lease"): "leases",
    ("events.k8s.io/v1", "Event"): "events",
    ("metricwatch.io/v1alpha1", "AnomalyModel"): "anomalymodels",
    ("metricwatch.io/v1alpha1", "MetricWatch"): "metricwatches",
}
# A minute without news has a bookmark, except of kinds that nothing happened to since the API
# server started; and a connection that went away without a word looks the same.
_SILENT_SECONDS = 90.0
_WATCH_SECONDS = 600
# A body that does not fit the schema is answered with 500 by server-side apply, not with 422.
_SERVER_ERRORS_THAT_STAY = ("field not declared in schema", "failed to create typed patch object")


async def load_configuration(*, timeout_seconds: float = 10.0) -> client.Configuration:
    """The pod's service account, or else the kubeconfig of `KUBECONFIG` or the home directory.

    Raises:
        kubernetes.aio.config.ConfigException: Neither is there.
    """
    configuration = client.Configuration()
    try:
        config.load_incluster_config(client_configuration=configuration)
    except config.ConfigException:
        async with asyncio.timeout(timeout_seconds):
            await config.load_kube_config(client_configuration=configuration)
    return configuration


class Gateway:
    """The API server, for one event loop.

    Every method raises `Away` when there is no answer in time, `NotFound`, `Conflict`, `Retryable`
    or `Terminal` for an answer that says so.

    Args:
        configuration: Where it is, and who asks.
        timeout_seconds: For one request.
        fence: Called just before a request that changes something is sent; raises to prevent it.
    """

    def __init__(
        self,
        configuration: client.Configuration,
        *,
        timeout_seconds: float = 30.0,
        fence: Callable[[], None] = lambda: None,
    ) -> None:
        configuration.client_session_kwargs = {"request_class": _fenced(fence)}
        self._api = client.ApiClient(configuration)
        self._client = DynamicClient(self._api)
        self._timeout = timeout_seconds

    async def apply(
        self, manifest: Manifest, *, subresource: str = "", dry_run: bool = False
    ) -> dict[str, Any]:
        """Applies the manifest as the owner of its fields; gives the object as it is now."""
        return await self._request(
            "patch",
            _path(Ref.of(manifest), subresource=subresource),
            body=dict(manifest),
            content_type="application/apply-patch+yaml",
            field_manager=FIELD_MANAGER,
            force_conflicts=True,
            dry_run="All" if dry_run else None,
        )

    async def create(self, manifest: Manifest) -> dict[str, Any]:
        """Creates the object; `Conflict` when it exists."""
        ref = Ref.of(manifest)
        path = _path(Ref(ref.api_version, ref.kind, ref.namespace, ""))
        return await self._request("post", path, body=dict(manifest), field_manager=FIELD_MANAGER)

    async def read(self, ref: Ref) -> dict[str, Any]:
        """The object as it is."""
        return await self._request("get", _path(ref))

    async def replace(self, manifest: Manifest) -> dict[str, Any]:
        """Replaces the object; `Conflict` when it changed since its `resourceVersion`."""
        return await self._request(
            "put", _path(Ref.of(manifest)), body=dict(manifest), field_manager=FIELD_MANAGER
        )

    async def delete(self, ref: Ref) -> None:
        """Deletes the object and then its own children; nothing happens when it is gone."""
        body: dict[str, Any] = {"kind": "DeleteOptions", "apiVersion": "v1"}
        body["propagationPolicy"] = "Background"
        if ref.uid:
            body["preconditions"] = {"uid": ref.uid}
        try:
            await self._request("delete", _path(ref), body=body)
        except NotFound:
            return

    async def served_kinds(self, api_version: str) -> frozenset[str]:
        """Kinds that the API server serves of a group and version; none when it knows neither."""
        try:
            answer = await self._request("get", f"/apis/{api_version}")
        except NotFound:
            return frozenset()
        return frozenset(resource["kind"] for resource in answer["resources"])

    async def read_page(
        self, kind: Ref, *, selector: str, limit: int, token: str
    ) -> dict[str, Any]:
        """Some objects of a kind, in one namespace or all; the answer says what to ask for next.

        Raises:
            Expired: The token is too old; the first page has to be asked for again.
        """
        return await self._request(
            "get", _path(kind), label_selector=selector, limit=limit, _continue=token or None
        )

    async def follow(
        self,
        kind: Ref,
        *,
        selector: str,
        revision: str,
        told: Callable[[str, dict[str, Any]], None],
    ) -> None:
        """Tells of what happens to objects of a kind, until that ends in good order.

        It does when the API server says so, or has been silent for so long that it may be away.

        Args:
            kind: Of the objects, in one namespace or all.
            selector: Of labels that they have.
            revision: After which.
            told: Called with the type of each event, also of bookmarks, and its object.

        Raises:
            Expired: The revision is too old; the objects have to be listed again.
        """
        # Apart, so that all watches of all replicas do not begin anew at the same moment.
        seconds = round(_WATCH_SECONDS * random.uniform(0.8, 1.0))  # noqa: S311 - spreads load only
        query = {
            "watch": "true",
            "allowWatchBookmarks": "true",
            "labelSelector": selector,
            "resourceVersion": revision,
            "timeoutSeconds": str(seconds),
        }
        limits = aiohttp.ClientTimeout(
            total=None, connect=self._timeout, sock_read=_SILENT_SECONDS
        )
        try:
            answer = await self._client.request(
                "get",
                _path(kind),
                serialize=False,
                query_params=list(query.items()),
                _request_timeout=limits,
            )
            async with answer:
                async for line in answer.content:
                    _tell(line, told)
        except aiohttp.SocketTimeoutError:
            return
        except ApiException as error:
            raise classify(error.status, str(error.body or error.reason or "")) from error
        except (aiohttp.ClientError, TimeoutError, OSError, msgspec.DecodeError) as error:
            raise _away(error) from error

    async def close(self) -> None:
        """Closes the connections."""
        await self._api.close()

    async def _request(self, method: str, path: str, **parameters: Any) -> dict[str, Any]:
        given = {name: value for name, value in parameters.items() if value is not None}
        try:
            async with asyncio.timeout(self._timeout):
                answer = await self._client.request(method, path, serialize=False, **given)
                parsed: dict[str, Any] = msgspec.json.decode(await answer.read())
        except ApiException as error:
            raise classify(error.status, str(error.body or error.reason or "")) from error
        except (aiohttp.ClientError, TimeoutError, OSError, msgspec.DecodeError) as error:
            raise _away(error) from error
        return parsed


def classify(status: int, body: str) -> ApiError:
    """The error that an HTTP status and the body of an answer mean.

    >>> classify(409, '{"message": "was changed", "reason": "Conflict"}').reason
    'Conflict'
    """
    try:
        answer = json.loads(body)
    except ValueError:
        answer = {}
    if not isinstance(answer, dict):
        answer = {}
    message = str(answer.get("message") or body[:500] or f"HTTP status {status}")
    reason = str(answer.get("reason") or f"Http{status}")
    delay = (answer.get("details") or {}).get("retryAfterSeconds")
    stays = status >= 500 and any(text in message for text in _SERVER_ERRORS_THAT_STAY)
    match status:
        case 404:
            return NotFound(message, reason="NotFound")
        case 409:
            return Conflict(message, reason=reason)
        case 410:
            return Expired(message, reason=reason)
        case 400 | 405 | 413 | 415 | 422:
            return Terminal(message, reason=reason)
        case 401 | 403:
            return Forbidden(message, reason=reason, delay=30.0)
        case _ if stays:
            return Terminal(message, reason="SchemaViolation")
    return Retryable(message, reason=reason, delay=float(delay) if delay else None)


def _away(error: Exception) -> Away:
    what = str(error) or type(error).__name__
    return Away(f"no answer from the API server: {what}", reason="ApiAway")


def _tell(line: bytes, told: Callable[[str, dict[str, Any]], None]) -> None:
    event = msgspec.json.decode(line)
    if event["type"] == "ERROR":
        raise classify(int(event["object"].get("code") or 500), json.dumps(event["object"]))
    told(event["type"], event["object"])


def _fenced(fence: Callable[[], None]) -> type[aiohttp.ClientRequest]:
    """Requests that ask the fence when their connection is there and nothing else is left to do.

    Asked any earlier, a process could be frozen between the answer and the request.
    """

    class FencedRequest(aiohttp.ClientRequest):
        async def send(self, conn: Connection) -> aiohttp.ClientResponse:
            if self.method != "GET":
                fence()
            return await super().send(conn)

    return FencedRequest


def _path(ref: Ref, *, subresource: str = "") -> str:
    plural = _PLURALS[ref.api_version, ref.kind]
    root = f"/api/{ref.api_version}" if "/" not in ref.api_version else f"/apis/{ref.api_version}"
    scope = f"/namespaces/{ref.namespace}" if ref.namespace else ""
    tail = f"/{ref.name}" if ref.name else ""
    return f"{root}{scope}/{plural}{tail}" + (f"/{subresource}" if subresource else "")
