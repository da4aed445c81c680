"""A double of a vLLM server in a training: it answers as told, and keeps what is done to its weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.reasoner.completion_server import CompletionServer, Fault
from tests.training.tiny_model import tiny_tokenizer

INFORMATION = {"vllm_config": {"model_config": {"logprobs_mode": "processed_logprobs"}, "weight_transfer_config": {}}}


class TrainedDouble(CompletionServer):
    """Writes a boxed number; its weights are a list of what was loaded."""

    def __init__(self, *, port: int = 0, model: str = "m", development: bool = True) -> None:
        from calmstorm.reasoner.codec import TokenizerCodec

        tokenizer = tiny_tokenizer()
        super().__init__(
            "\\boxed{3}",
            codec=TokenizerCodec(tokenizer),
            end_of_turn=tokenizer.eos_token_id,
            models=(model,),
            port=port,
        )
        self.calls: list[tuple[str, Any]] = []
        """Development pages that were asked for, and with what."""
        self.version = "default"
        self.busy = 0
        """How often the prefix cache cannot be dropped."""
        self.information: dict[str, Any] = INFORMATION
        self.refuse: Fault | None = None
        """How it answers a reload."""
        if development:
            self.pages = {
                "/weight_info": lambda _: {"weight_version": self.version},
                "/server_info?config_format=json": lambda _: self.information,
                "/get_world_size": lambda _: {"world_size": 2},
                "/update_weight_version": self._named,
                "/collective_rpc": self._kept("/collective_rpc"),
                "/reset_prefix_cache": self._reset,
                **{path: self._kept(path) for path in ("/start_weight_update", "/update_weights")},
                **{path: self._kept(path) for path in ("/finish_weight_update", "/init_weight_transfer_engine")},
                "/shutdown_weight_transfer_engine": self._kept("/shutdown_weight_transfer_engine"),
            }

    def _kept(self, path: str) -> Callable[[Any], dict[str, Any] | Fault]:
        def page(body: Any) -> dict[str, Any] | Fault:
            self.calls.append((path, body))
            return self.refuse or {}

        return page

    def _named(self, body: Any) -> dict[str, Any]:
        self.version = body["new_version"]
        return {"success": True}

    def _reset(self, _: Any) -> dict[str, Any]:
        self.calls.append(("/reset_prefix_cache", None))
        self.busy -= 1
        return {"success": self.busy < 0}

    @property
    def loaded(self) -> list[str]:
        """Directories that were loaded, in order."""
        return [body["kwargs"]["weights_path"] for path, body in self.calls if path == "/collective_rpc"]

    def restart(self) -> None:
        """Comes back with the weights that it was started on."""
        self.version = "default"
        self.start()
