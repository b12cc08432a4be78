"""`clipvil doctor`: what is installed, what is wrong, and the command that repairs it."""

from __future__ import annotations

import importlib.util
import json
import os
import site
import subprocess
import sys
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Annotated

import typer
from packaging.requirements import Requirement
from rich.console import Console
from rich.table import Table

from clipvil_mmf.paths import config_dir
from mmf_bridge.finder import SWITCH, is_enabled
from mmf_bridge.line import SUPPORTED, find_mmf, line_of, read_version

DISTRIBUTION = "clipvil-mmf"
HOOK = "mmf_bridge.pth"
INSTALL_MMF = "pip install --no-deps mmf==1.0.0rc7"
INSTALL_PLUGIN = "pip install --force-reinstall --no-deps -e .    # in the checkout of clipvil-mmf"
# What the report names one by one; all other requirements are checked as well, and named if wrong.
SHOWN = ("omegaconf", "transformers", "open_clip_torch", "torchvision", "torch")
EASY_VQA_QUESTIONS = ("data/train/questions.json", "data/test/questions.json")
# torchvision's operators without torchvision, whose import takes as long as torch's.
TRY_TORCH = """
import glob, importlib.util, os, torch
folder = os.path.dirname(importlib.util.find_spec("torchvision").origin)
for file in glob.glob(os.path.join(folder, "_C*")):
    torch.ops.load_library(file)
torch.ops.torchvision.nms(torch.zeros(1, 4), torch.ones(1), 0.5)
names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
print(torch.version.cuda + ": " + ", ".join(names) if torch.cuda.is_available() else "")
"""


@dataclass
class Finding:
    """One line of the report."""

    name: str  # what was looked at
    found: str
    problem: str = ""  # what is wrong with it
    remedy: str = ""  # the command that repairs it
    optional: bool = False  # whether MMF and the plugin work in spite of the problem

    @property
    def is_wrong(self) -> bool:
        """Whether this stops MMF or the plugin from working."""
        return bool(self.problem) and not self.optional


def command(
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
    quick: Annotated[
        bool, typer.Option("--quick", help="Do not try to import MMF (saves some seconds).")
    ] = False,
) -> None:
    """Say what is installed, what is wrong, and the command that repairs it."""
    mmf_dir = find_mmf()
    on_main = mmf_dir is not None and line_of(read_version(mmf_dir)) == "main"
    # Both wait for a process that imports torch.
    with ThreadPoolExecutor() as pool:
        torch_findings = pool.submit(check_torch)
        imported = (
            [] if quick else [pool.submit(check_import, [sys.executable, "-c", "import mmf"])]
        )
        findings = [
            check_mmf(mmf_dir),
            *check_requirements(on_main=on_main),
            *torch_findings.result(),
            check_bridge(map(Path, (*site.getsitepackages(), site.getusersitepackages()))),
            check_configs(),
            check_easy_vqa(),
            *(finding.result() for finding in imported),
        ]
    healthy = not any(finding.is_wrong for finding in findings)
    if as_json:
        typer.echo(json.dumps({"ok": healthy, "findings": list(map(asdict, findings))}, indent=2))
    else:
        show(findings, Console(soft_wrap=True, highlight=False))
    if not healthy:
        raise typer.Exit(1)


def check_mmf(folder: str | None) -> Finding:
    """Looks at the version of MMF in `folder`, without importing it."""
    if folder is None:
        return Finding("MMF", "not installed", f"needs MMF {SUPPORTED}", INSTALL_MMF)
    version = read_version(folder)
    line = line_of(version)
    if line is None:
        found = f"{version or 'unknown version'} in {folder}"
        return Finding("MMF", found, f"supported are {SUPPORTED}", INSTALL_MMF)
    return Finding("MMF", f"{version}, line {line}, in {folder}")


def check_requirements(
    requirements: Iterable[str] | None = None,
    version_of: Callable[[str], str] = metadata.version,
    on_main: bool = False,
) -> list[Finding]:
    """Compares installed packages with requirements, by default those of this one's metadata.

    With `on_main` they include what MMF from GitHub main imports on top.
    """
    if requirements is None:
        try:
            requirements = metadata.requires(DISTRIBUTION) or []
        except metadata.PackageNotFoundError:
            problem = "MMF is not patched at its start, and requirements cannot be checked"
            return [Finding(DISTRIBUTION, "not installed", problem, INSTALL_PLUGIN)]
    extras = ("", "mmf-main") if on_main else ("",)
    findings = []
    for requirement in map(Requirement, requirements):
        marker = requirement.marker
        if marker and not any(marker.evaluate({"extra": extra}) for extra in extras):
            continue
        name, needed = requirement.name, requirement.specifier
        try:
            version = version_of(name)
            fits = needed.contains(version, prereleases=True)
        except metadata.PackageNotFoundError:
            version, fits = "not installed", False
        if not fits:
            remedy = f'pip install "{name}{needed}"'
            findings.append(Finding(name, version, f"needs {needed or 'any version'}", remedy))
        elif name in SHOWN:
            findings.append(Finding(name, version))
    return findings


def check_torch() -> list[Finding]:
    """Tries torchvision beside torch, and names the GPUs that torch can use (none is fine, too).

    torchvision's compiled operators load only beside the torch that they fit.
    """
    if not all(map(importlib.util.find_spec, ("torch", "torchvision"))):
        return [Finding("torch + torchvision", "not both installed")]
    result = subprocess.run([sys.executable, "-c", TRY_TORCH], capture_output=True, text=True)
    if result.returncode != 0:
        problem = f"they do not fit each other: {_last_line(result.stderr)}"
        remedy = "pip install --force-reinstall torch torchvision"
        return [Finding("torch + torchvision", "mismatch", problem, remedy)]
    gpus = result.stdout.strip() or "no GPU in reach, runs on the CPU"
    return [Finding("torch + torchvision", "fit each other"), Finding("CUDA", gpus)]


def check_bridge(folders: Iterable[Path]) -> Finding:
    """Looks for the hook in the folders whose .pth files Python reads at its start."""
    hook = next((folder / HOOK for folder in folders if (folder / HOOK).is_file()), None)
    if hook is None:
        problem = f"{HOOK} is in no site-packages, so plain `mmf_run` is not patched"
        return Finding("bridge", "off", problem, INSTALL_PLUGIN)
    if not is_enabled():
        problem = "MMF will not start on today's packages"
        found = f"off by {SWITCH}={os.environ[SWITCH]}"
        return Finding("bridge", found, problem, f"unset {SWITCH}")
    return Finding("bridge", f"on, by {hook}")


def check_configs() -> Finding:
    """Looks for the plugin's yaml files."""
    try:
        return Finding("configs", str(config_dir()))
    except FileNotFoundError as error:
        return Finding("configs", "missing", str(error), INSTALL_PLUGIN)


def check_easy_vqa() -> Finding:
    """Looks for the data of easy-VQA, which is a package of its own."""
    name = "easy-VQA data"
    spec = importlib.util.find_spec("easy_vqa")
    if spec is None or not spec.origin:
        problem = "needed for easy_vqa.yaml only"
        return Finding(name, "absent", problem, "pip install easy-vqa", optional=True)
    folder = Path(spec.origin).parent
    missing = [file for file in EASY_VQA_QUESTIONS if not (folder / file).is_file()]
    if missing:
        remedy = "pip install --force-reinstall --no-deps easy-vqa"
        return Finding(name, str(folder), f"lacks {', '.join(missing)}", remedy)
    return Finding(name, str(folder))


def check_import(arguments: list[str]) -> Finding:
    """Imports MMF in a fresh process, as `mmf_run` does."""
    result = subprocess.run(arguments, capture_output=True, text=True)
    if result.returncode != 0:
        remedy = "repair what is named above, then run `clipvil doctor` again"
        return Finding("import mmf", "fails", _last_line(result.stderr), remedy)
    return Finding("import mmf", "works")


def show(findings: list[Finding], console: Console) -> None:
    """Prints the report as a table, then each problem with its remedy."""
    table = Table("", "", "found", box=None, show_header=False)
    table.columns[2].overflow = "fold"  # paths stay whole, to be copied
    for finding in findings:
        sign = "[red]✗[/]" if finding.is_wrong else "[yellow]·[/]" if finding.problem else "✓"
        table.add_row(sign, finding.name, finding.found)
    console.print(table)
    for finding in findings:
        if finding.problem:
            colour = "red" if finding.is_wrong else "yellow"
            console.print(f"\n[{colour}]{finding.name}[/]: {finding.problem}", markup=True)
            console.print(f"    {finding.remedy}", markup=False)


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or ["it ended without a message"])[-1]
