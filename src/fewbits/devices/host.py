"""This host: its processor, the instruction sets that decide which formats are fast, its cores."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from pathlib import Path

# Linux names of the instruction sets that matter to number formats, slowest first.
_ISA = (
    "sse4_2",
    "avx2",
    "f16c",
    "avx512f",
    "avx512bw",
    "avx_vnni",
    "avx512_vnni",
    "avx_vnni_int8",
    "avx_ne_convert",
    "avx512_bf16",
    "avx512_fp16",
    "amx_tile",
    "amx_bf16",
    "amx_int8",
    "amx_fp16",
    "asimd",
    "asimddp",
    "fphp",
    "asimdhp",
    "bf16",
    "i8mm",
    "sve",
)
_NO_SATURATION = {"avx_vnni", "avx512_vnni", "avx_vnni_int8", "amx_int8", "asimd"}


@dataclass(frozen=True)
class Host:
    """The processor's name, its instruction sets (Linux flag names) and the cores this process may use."""

    cpu: str
    isa: tuple[str, ...]
    cores: int

    @property
    def saturates_int8(self) -> bool:
        """Whether u8*s8 products are added in pairs in 16 bits and may saturate (AVX2 and AVX-512 without VNNI)."""
        x86 = {"sse4_2", "avx2", "avx512bw"} & set(self.isa)
        return bool(x86) and not _NO_SATURATION & set(self.isa)


def detect(cpuinfo: Path = Path("/proc/cpuinfo")) -> Host:
    """Read this host; what cannot be read stays empty and stops nothing."""
    cpu, flags = platform.processor() or platform.machine(), set[str]()
    try:
        for line in cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines():
            key, _, value = line.partition(":")
            if key.strip() in ("model name", "Model") and value.strip():
                cpu = value.strip()
            elif key.strip() in ("flags", "Features"):
                flags = set(value.split())
                break
    except OSError:
        pass
    return Host(cpu, tuple(name for name in _ISA if name in flags), available_cores())


def available_cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def free_bytes() -> int:
    """Memory that nothing uses now; 4 GiB where the system does not say."""
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError, AttributeError):
        return 4 << 30
