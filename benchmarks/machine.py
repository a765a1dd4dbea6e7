"""The machine that results were measured on."""

from __future__ import annotations

import os
import platform
import shutil
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PACKAGES = ("ckptmigrate", "numpy", "tensorflow", "tf_keras", "safetensors", "h5py")


def machine(folder: Path) -> dict[str, str]:
    """What it is, as far as Linux tells; the disk is the one that `folder` is on."""
    disk = shutil.disk_usage(folder)
    return {
        "CPU": f"{_field('/proc/cpuinfo', 'model name')}, {os.cpu_count()} cores",
        "memory": f"{int(_field('/proc/meminfo', 'MemTotal').split()[0]) / 2**20:.0f} GiB",
        "disk": f"{_mount(folder)}, {disk.total / 2**30:.0f} GiB, {disk.free / 2**30:.0f} GiB free",
        "system": f"{platform.system()} {platform.release()}, Python {platform.python_version()}",
        "load at the start": f"{os.getloadavg()[0]:.1f}",
        "packages": ", ".join(f"{name} {_version(name)}" for name in PACKAGES),
    }


def _field(path: str, name: str) -> str:
    lines = Path(path).read_text("utf-8").splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(name)), "0")


def _mount(folder: Path) -> str:
    """Filesystem and device: of the mounts that hold the folder, the innermost."""
    mounts = [line.split()[:3] for line in Path("/proc/mounts").read_text("utf-8").splitlines()]
    held = [mount for mount in mounts if folder.resolve().is_relative_to(mount[1])]
    device, _, kind = max(held, key=lambda mount: len(mount[1]))
    return f"{kind} on {device}"


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "missing"
