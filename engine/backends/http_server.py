"""Calls to an OpenAI-compatible server: sent again where that can help, named errors where it cannot.

    408 409 425 429 5xx, timeouts, lost connections, half or broken JSON    sent again, with back-off or Retry-After
    400 413 422 that speak of the context                                   PromptTooLong
    400 422 that speak of roles or the chat template                        TemplateRefused
    401 403 404                                                             BadInput: key, rights, address or model name
    any other 4xx                                                           ModelError

The key is read from the environment when the client is made, and cut out of everything a server sends back.
"""

from __future__ import annotations

import email.utils
import os
import re
import time
from typing import Any

import httpx
import tenacity

from constitution.faults import BadInput, Fault
from engine.backends.spec import ModelSpec
from engine.model import ModelError, ModelUnavailable, PromptTooLong, TemplateRefused

AGAIN = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 529})
TOO_LONG = re.compile(
    r"context[ _]length|maximum context|context window|max_model_len|prompt is too long", re.IGNORECASE
)
ROLES = re.compile(r"chat template|roles? must|jinja|unknown role|system (role|message|comes)", re.IGNORECASE)
LONGEST_WAIT = 60.0
"""Seconds between two tries at most, whatever the server asks for."""
FIRST_WAIT = 0.5
SHOWN = 300
"""Characters of a server's message that are shown."""


class TryAgain(Exception):
    """This attempt failed in a way that another may not. `wait` is what the server asks for, in seconds."""

    def __init__(self, reason: str, wait: float | None = None) -> None:
        super().__init__(reason, wait)
        self.reason, self.wait = reason, wait


def headers(spec: ModelSpec) -> dict[str, str]:
    """What is sent with every request. Raises BadInput where the key's variable is not set."""
    if spec.api_key_env is None:
        return {}
    key = os.environ.get(spec.api_key_env)
    if not key:
        message = f"the environment variable {spec.api_key_env} is not set"
        raise BadInput(Fault(message, where="model.api_key_env", hint=f"export {spec.api_key_env}=…"))
    return {"Authorization": f"Bearer {key}"}


def retry_after(response: httpx.Response) -> float | None:
    """Seconds the server asks to wait, from a number or a date."""
    value = response.headers.get("retry-after")
    if value is None:
        return None
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time())
    except ValueError:
        return None


def pause(state: tenacity.RetryCallState) -> float:
    """How long to wait before the next try: as asked, or 0.5, 1, 2, … seconds with jitter."""
    outcome = state.outcome
    error = outcome.exception() if outcome is not None else None
    if isinstance(error, TryAgain) and error.wait is not None:
        return min(LONGEST_WAIT, error.wait)
    growing = tenacity.wait_exponential(multiplier=FIRST_WAIT, max=LONGEST_WAIT) + tenacity.wait_random(0, FIRST_WAIT)
    return float(growing(state))


class Server:
    """A connection pool to one server. Its representation shows no header."""

    def __init__(self, spec: ModelSpec, transport: httpx.AsyncBaseTransport | None = None) -> None:
        """`transport` replaces the network in tests."""
        assert spec.base_url is not None
        self.name = spec.model
        self.url = spec.base_url.rstrip("/")
        self._key_env = spec.api_key_env
        self._headers = headers(spec)
        self._tries = spec.retries + 1
        self._timeout = spec.timeout
        self._client = httpx.AsyncClient(
            headers=self._headers,
            timeout=httpx.Timeout(spec.timeout, connect=min(30.0, spec.timeout), pool=None),
            limits=httpx.Limits(max_connections=spec.max_concurrency, max_keepalive_connections=spec.max_concurrency),
            transport=transport,
        )

    def __repr__(self) -> str:
        return f"Server({self.url!r})"

    async def get(self, path: str, holding: str) -> dict[str, Any]:
        """As `post`, without a body."""
        return await self._call("GET", path, None, holding)

    async def post(self, path: str, body: dict[str, Any], holding: str) -> dict[str, Any]:
        """The server's JSON answer, which has a list `holding`. `path` is below the base address, or an address.

        Raises what the head of this file draws, and ModelUnavailable after the last try.
        """
        return await self._call("POST", path, body, holding)

    async def close(self) -> None:
        """Closes the connections."""
        await self._client.aclose()

    async def _call(self, method: str, path: str, body: dict[str, Any] | None, holding: str) -> dict[str, Any]:
        attempts = tenacity.AsyncRetrying(
            retry=tenacity.retry_if_exception_type(TryAgain),
            stop=tenacity.stop_after_attempt(self._tries),
            wait=pause,
            reraise=True,
        )
        try:
            async for attempt in attempts:
                with attempt:
                    return self._read(await self._try(method, path, body), holding)
        except TryAgain as error:
            reason = f"{self.url} did not answer for {self.name!r} in {self._tries} tries: {error.reason}"
            raise ModelUnavailable(reason) from None
        raise AssertionError("tenacity neither returned nor raised")

    async def _try(self, method: str, path: str, body: dict[str, Any] | None) -> httpx.Response:
        """A response that is not an error. Raises TryAgain where another try may help."""
        try:
            address = path if "://" in path else self.url + path
            response = await self._client.request(method, address, json=body)
        except httpx.TimeoutException:
            raise TryAgain(f"no answer within {self._timeout:g} s") from None
        except httpx.TransportError as error:
            raise TryAgain(f"{type(error).__name__}: {self._hidden(str(error))}") from None
        except RuntimeError as error:  # httpx's way to say that the client is closed
            raise ModelUnavailable(f"{self.name!r} is closed: {error}") from None
        if response.status_code in AGAIN:
            message = f"status {response.status_code}: {self._message(response)}"
            raise TryAgain(message, retry_after(response))
        if response.status_code >= 300:
            raise self._refusal(response)
        return response

    def _read(self, response: httpx.Response, holding: str) -> dict[str, Any]:
        try:
            answer = response.json()
        except ValueError:
            raise TryAgain(f"an answer that is not JSON: {self._hidden(response.text[:80])!r}") from None
        if not isinstance(answer, dict) or not isinstance(answer.get(holding), list):
            raise TryAgain(f"an answer without {holding!r}: {self._hidden(response.text[:80])!r}")
        return answer

    def _refusal(self, response: httpx.Response) -> Exception:
        status, message = response.status_code, self._message(response)
        said = f"{self.url} refuses the request for {self.name!r} (status {status}): {message}"
        if status in {401, 403}:
            where = "model.api_key_env"
            hint = (
                f"check the key in {self._key_env}" if self._key_env else "name the key's variable with `api_key_env`"
            )
            return BadInput(Fault(said, where=where, hint=hint))
        if status == 404:
            hint = "check `base_url` (it usually ends in /v1) and the model's served name"
            return BadInput(Fault(said, where="model.base_url", hint=hint))
        if status in {400, 413, 422} and TOO_LONG.search(message):
            return PromptTooLong(said)
        if status in {400, 422} and ROLES.search(message):
            return TemplateRefused(said)
        return ModelError(said)

    def _message(self, response: httpx.Response) -> str:
        """What the server says is wrong, in one line, without the key."""
        try:
            body = response.json()
            error = body.get("error", body) if isinstance(body, dict) else body
            text = str(error.get("message", error)) if isinstance(error, dict) else str(error)
            code = error.get("code") if isinstance(error, dict) else None
            text = f"{text} ({code})" if isinstance(code, str) else text
        except ValueError:
            text = response.text
        return self._hidden(" ".join(text.split())[:SHOWN]) or "(empty)"

    def _hidden(self, text: str) -> str:
        key = self._headers.get("Authorization", "").removeprefix("Bearer ")
        return text.replace(key, "…") if key else text
