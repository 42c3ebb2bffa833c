"""llama.cpp in a worker process: OpenAI-shaped chat completions, streamed (xllamacpp, a prebuilt llama.cpp)."""

from __future__ import annotations

import os
import secrets
from typing import Any

import xllamacpp

from gateway.contract.worker_frames import Engine, Fields, Job, JobFailed, NotReady

BATCH = 64
"""Tokens of a prompt read at once. A cancel is seen after each batch: about half a second on one slow core."""


def open_engine(options: Fields) -> Engine:
    """Options: `path` of a GGUF file, `context` in tokens, `threads` that read a prompt, `writers` that write."""
    if not os.path.isfile(options["path"]):
        raise NotReady("the GGUF file of model_path does not exist")
    return _Llama(_server(options))


def _server(options: Fields) -> Any:
    params = xllamacpp.CommonParams()
    params.model.path = options["path"]
    params.n_ctx, params.n_parallel = options["context"], 1
    params.n_batch = params.n_ubatch = BATCH
    params.cpuparams.n_threads, params.cpuparams_batch.n_threads = options["writers"], options["threads"]
    params.cpuparams.poll = params.cpuparams_batch.poll = 0
    params.cache_ram_mib = 128  # prompts that lost the slot to another, ready to come back
    params.verbosity = 0
    # It listens on loopback whether asked or not: nobody else on this machine is to use that.
    params.api_keys, params.ui, params.n_threads_http = [secrets.token_hex(16)], False, 1
    try:
        return xllamacpp.Server(params)
    except RuntimeError as error:
        raise NotReady("llama.cpp cannot load the GGUF file") from error


class _Llama:
    """A job's fields are the body of an OpenAI chat request; its pieces are `{"delta", "finish", "usage"}`, absent ones left out."""

    def __init__(self, server: Any) -> None:
        self._server = server

    def run(self, job: Job) -> None:
        failure: list[JobFailed] = []

        def on_chunk(chunk: dict[str, Any]) -> bool:
            """Returning True stops the generation."""
            if "error" in chunk:
                failure.append(_failure(chunk["error"]))
                return True
            if piece := _piece(chunk):
                job.emit(piece)
            return job.cancelled()

        # Progress through the prompt comes as chunks too, which is where a cancel is seen before the first token.
        body = {**job.fields, "stream": True, "stream_options": {"include_usage": True}, "return_progress": True}
        self._server.handle_chat_completions(body, on_chunk)
        if failure:
            raise failure[0]


def _piece(chunk: dict[str, Any]) -> dict[str, Any]:
    piece: dict[str, Any] = {}
    for choice in chunk.get("choices", ()):
        if delta := {name: value for name, value in choice.get("delta", {}).items() if value and name != "role"}:
            piece["delta"] = delta
        if reason := choice.get("finish_reason"):
            piece["finish"] = reason
    if usage := chunk.get("usage"):
        cached = (usage.get("prompt_tokens_details") or {}).get("cached_tokens", 0)
        piece["usage"] = [usage["prompt_tokens"], usage["completion_tokens"], cached]
    return piece


def _failure(error: dict[str, Any]) -> JobFailed:
    if error.get("type") == "exceed_context_size_error":
        return JobFailed("context", f"{error.get('n_prompt_tokens')} tokens do not fit in {error.get('n_ctx')}")
    if error.get("code") == 400:
        return JobFailed("invalid", "llama.cpp does not accept the request")
    return JobFailed("failed", f"llama.cpp failed ({error.get('code')})")
