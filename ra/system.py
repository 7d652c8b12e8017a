"""What a job takes of the machine, sampled now and then, under the names MLflow's UI knows."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable

import psutil

EVERY_S = 10.0  # seconds between samples
MB = 1e6


class Sampler:
    """A thread that logs ``sample()`` every ``EVERY_S`` seconds and once at the end.

    Args:
        log: receives (metrics, step); steps count the samples.
    """

    def __init__(self, log: Callable[[dict[str, float], int], None]) -> None:
        self._log, self._step = log, 0
        self._ended = threading.Event()
        self._process = psutil.Process()
        self._thread = threading.Thread(target=self._work, daemon=True)

    def start(self) -> None:
        # Of a percentage since the last call the first call says nothing.
        psutil.cpu_percent()
        self._process.cpu_percent()
        self._thread.start()

    def stop(self) -> None:
        """End the thread; the last sample makes sure that a short job has one."""
        if not self._thread.ident:
            return
        self._ended.set()
        self._thread.join(timeout=5)
        self._sample()

    def _work(self) -> None:
        while not self._ended.wait(EVERY_S):
            self._sample()

    def _sample(self) -> None:
        try:
            metrics = sample(self._process)
        except (psutil.Error, OSError, RuntimeError):
            return
        self._log({f"system/{key}": value for key, value in metrics.items()}, self._step)
        self._step += 1


def sample(process: psutil.Process) -> dict[str, float]:
    """CPU and memory of the machine, of ``process`` alone, and GPU memory where one is used."""
    memory = psutil.virtual_memory()
    metrics = {
        "cpu_utilization_percentage": psutil.cpu_percent(),
        "system_memory_usage_megabytes": memory.used / MB,
        "system_memory_usage_percentage": memory.percent,
        "process_cpu_percentage": process.cpu_percent(),
        "process_memory_megabytes": process.memory_info().rss / MB,
    }
    torch = sys.modules.get("torch")
    if torch and torch.cuda.is_available() and torch.cuda.is_initialized():
        for gpu in range(torch.cuda.device_count()):
            if reserved := torch.cuda.memory_reserved(gpu):
                free, total = torch.cuda.mem_get_info(gpu)
                metrics[f"gpu_{gpu}_memory_usage_megabytes"] = (total - free) / MB
                metrics[f"gpu_{gpu}_process_memory_megabytes"] = reserved / MB
    return metrics
