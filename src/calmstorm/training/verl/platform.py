"""verl without an accelerator: a platform on which CPU processes stand in for GPUs.

Ray is told of as many logical GPUs as there are processes to train, since verl places its workers by them. Everything
that would touch a device does nothing.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from typing import Any

import torch
from verl.plugin.platform.platform_base import PlatformBase
from verl.plugin.platform.platform_manager import PlatformRegistry

_MEMORY = frozenset({"max_memory_allocated", "max_memory_reserved", "memory_allocated", "memory_reserved"})


class _NoDevice:
    """Stands in for `torch.cuda`: answers what verl asks of it, and otherwise does nothing."""

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name.startswith("__"):
            raise AttributeError(name)
        known: dict[str, Any] = {
            "is_available": False,
            "device_count": 1,
            "current_device": "cpu",
            "get_device_name": "CPU",
            "mem_get_info": (0, 0),
        }
        answer = 0 if name in _MEMORY else known.get(name)
        return lambda *args, **kwargs: answer


class CpuPlatform(PlatformBase):  # type: ignore[misc]
    """The platform `cpu`; what a method means is told by its base."""

    device_name = "cpu"
    vendor_name = "cpu"
    device_module: Any = _NoDevice()

    def is_available(self) -> bool:
        """Always."""
        return True

    def is_platform_available(self, use_smi_check: bool = False) -> bool:
        """Never by itself: a CPU is used where it is asked for."""
        return False

    def current_device(self) -> str:
        """What tensors are moved to."""
        return "cpu"

    def device_count(self) -> int:
        """Each process has one."""
        return 1

    def set_device(self, device_index: int) -> None:
        """There is nothing to choose."""

    def synchronize(self, device_index: int | None = None) -> None:
        """Everything is done when a call returns."""

    def manual_seed(self, seed: int) -> None:
        """Seeds the CPU's generator."""
        torch.manual_seed(seed)

    def manual_seed_all(self, seed: int) -> None:
        """Seeds the CPU's generator."""
        torch.manual_seed(seed)

    def set_allocator_settings(self, settings: str) -> None:
        """There is no allocator of a device."""

    def empty_cache(self) -> None:
        """There is no cache of a device."""

    def get_device_capability(self, device_index: int = 0) -> tuple[None, None]:
        """There is none."""
        return None, None

    def communication_backend_name(self) -> str:
        """What torch offers on CPUs."""
        return "gloo"

    def visible_devices_envvar(self) -> str:
        """Ray's logical GPUs are numbered in it."""
        return "CUDA_VISIBLE_DEVICES"

    @contextlib.contextmanager
    def nvtx_range(self, msg: str) -> Iterator[None]:
        """Marks nothing."""
        yield

    def profiler_start(self) -> None:
        """There is no profiler of a device."""

    def profiler_stop(self) -> None:
        """There is no profiler of a device."""

    def ray_resource_name(self) -> str:
        """Logical GPUs."""
        return "GPU"

    def ray_noset_envvars(self) -> list[str]:
        """Nothing is to be kept from Ray."""
        return []

    def is_ipc_supported(self) -> bool:
        """No device memory is shared."""
        return False

    def cudart(self) -> None:
        """There is none."""
        return


def use_cpu() -> None:
    """Registers the platform and makes it the one in use, in this process."""
    PlatformRegistry.register(platform="cpu")(CpuPlatform)
    os.environ["VERL_PLATFORM"] = "cpu"
    # verl registers its FSDP engines for `cuda` and `npu`; nothing in them needs a device.
    os.environ["VERL_ENGINE_DEVICE"] = "cuda"
    _allow_gloo_alone()


def _allow_gloo_alone() -> None:
    """Lets verl open its process group: it asks for "cpu:gloo,cpu:gloo", and torch refuses one device named twice."""
    open_group = torch.distributed.init_process_group

    def init_process_group(backend: str | None = None, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401
        open_group("gloo" if backend == "cpu:gloo,cpu:gloo" else backend, *args, **kwargs)

    torch.distributed.init_process_group = init_process_group
