"""A bare machine made ready: wheels unpacked, the package found by a link, a GPU looked for.

Uses the standard library and ``packaging`` alone: it runs before anything else is there.
"""

from __future__ import annotations

import importlib.metadata
import os
import re
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from email.parser import Parser
from pathlib import Path

OPTIONAL = {"liger-kernel": "fused kernels", "bitsandbytes": "a base of 4 bits", "plotly": "reports"}
"""What a stage or a command alone needs, and is unpacked where its wheel is there."""

LOOK = """
import torch
print(torch.cuda.get_device_name(0) if torch.cuda.is_available() else "")
"""


class Missing(Exception):  # noqa: N818
    """What is not there, in one line."""


def make_ready(root: Path, folder: Path, wheels: Path | None, device: str) -> dict[str, str]:
    """Return the environment of the stages; raises ``Missing``.

    Args:
        root: the clone.
        folder: an empty folder for the link and the unpacked wheels.
        wheels: the folder that the user named.
        device: ``cuda`` or ``cpu``.
    """
    place = _wheels(root, wheels)
    there = (
        {} if place is None else {_canonical(file.name.split("-")[0]): file for file in place.glob("*.whl")}
    )
    missing, unpack = needs(_required(root), there)
    if missing:
        where = "no folder of wheels was found (--wheels)" if place is None else f"nor in {place}"
        raise Missing(f"missing: {'; '.join(missing)}; not installed, {where}")
    site, path = folder / "site", folder / "path"
    path.mkdir()
    (path / "loratune").symlink_to(root, target_is_directory=True)
    paths = [str(path)]
    if unpack:
        pip = [sys.executable, "-m", "pip", "install", "-q", "--no-index", "--no-deps", "--no-compile"]
        pip += ["--disable-pip-version-check", "--no-cache-dir", "--target", str(site), *map(str, unpack)]
        done = subprocess.run(pip, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            lines = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
            raise Missing(
                f"the wheels of {place} cannot be unpacked: {lines[-1] if lines else 'no reason given'}"
            )
        paths.append(str(site))
    inherited = os.environ.get("PYTHONPATH")
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([*paths, *([inherited] if inherited else [])]),
        "PYTHONUNBUFFERED": "1",
        "HF_HUB_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "TUNE_PLAIN": "1",
    }
    if device == "cuda":
        looked = subprocess.run(
            [sys.executable, "-c", LOOK], env=environment, capture_output=True, text=True, check=False
        )
        if looked.returncode != 0 or not looked.stdout.strip():
            why = looked.stderr.strip().splitlines()[-1:] or ["PyTorch finds no CUDA GPU here"]
            raise Missing(f"missing: a GPU ({why[0]}); to see the stages run without one: --device cpu --toy")
    else:
        environment["CUDA_VISIBLE_DEVICES"] = ""
    return environment


def needs(required: list[str], wheels: dict[str, Path]) -> tuple[list[str], list[Path]]:
    """Return what is neither installed nor among the wheels, and the wheels to unpack.

    Args:
        required: requirements as pyproject.toml writes them.
        wheels: wheel files by canonical name.
    """
    try:
        from packaging.requirements import Requirement
    except ImportError:
        return ["packaging"], []
    missing: list[str] = []
    unpack: dict[str, Path] = {}
    seen: set[str] = set()
    queue = [Requirement(text) for text in required]
    while queue:
        wanted = queue.pop(0)
        name = _canonical(wanted.name)
        if name in seen or (wanted.marker is not None and not wanted.marker.evaluate({"extra": ""})):
            continue
        seen.add(name)
        installed = _installed(name)
        if installed is not None and wanted.specifier.contains(installed, prereleases=True):
            continue  # with it came whatever it needs
        wheel = wheels.get(name)
        version = None if wheel is None else wheel.name.split("-")[1]
        if version is not None and wanted.specifier.contains(version, prereleases=True):
            unpack[name] = wheel
            queue += [Requirement(text) for text in _needed_by(wheel)]
        elif name not in OPTIONAL:
            had = installed or version
            missing.append(f"{wanted.name}{wanted.specifier}" + (f" (there is {had})" if had else ""))
    for name in OPTIONAL:
        if name in wheels and _installed(name) is None:
            unpack.setdefault(name, wheels[name])
    return missing, list(unpack.values())


def _wheels(root: Path, named: Path | None) -> Path | None:
    """Return the folder of wheels; raises ``Missing`` where the one that was named is not there."""
    asked = named or (Path(os.environ["LORATUNE_WHEELS"]) if os.environ.get("LORATUNE_WHEELS") else None)
    if asked is not None:
        if not asked.is_dir():
            raise Missing(f"missing: the folder of wheels {asked}")
        return asked.resolve()
    return next((place for place in (root / "wheels", root.parent / "wheels") if place.is_dir()), None)


def _required(root: Path) -> list[str]:
    """Return the package's own requirements, and packaging, which reads them."""
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return list(project["dependencies"])


def _needed_by(wheel: Path) -> Iterator[str]:
    """Yield what a wheel requires."""
    with zipfile.ZipFile(wheel) as archive:
        name = next(name for name in archive.namelist() if re.fullmatch(r"[^/]+\.dist-info/METADATA", name))
        metadata = Parser().parsestr(archive.read(name).decode("utf-8"))
    yield from metadata.get_all("Requires-Dist", [])


def _installed(name: str) -> str | None:
    """Return the version of an installed distribution."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
