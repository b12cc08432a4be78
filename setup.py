"""Builds and installs clipvil-mmf: the plugin, its configuration files and MMF's import hook."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

from setuptools import setup
from setuptools.command.build_py import build_py
from setuptools.command.editable_wheel import editable_wheel

ROOT = Path(__file__).resolve().parent

# Python reads every .pth file in site-packages at its start, in order of their names: the hook has
# to come after the path of an editable install.
CHECKOUT = "__editable__.clipvil_mmf.pth"
HOOK = "mmf_bridge.pth"
CONFIGS = Path("projects", "clipvil", "configs")
# The same path inside the package, so that config=projects/clipvil/configs/... names the file from
# any directory.
# The files there that a wheel carries.
SHIPPED = (".yaml", ".json")
CONFIGS_IN_PACKAGE = Path("clipvil_mmf") / CONFIGS


class BuildPy(build_py):
    """Adds to a wheel the hook and a copy of the yaml files of `projects/`."""

    def run(self) -> None:
        """Builds the packages, then copies what lies outside of them."""
        super().run()
        if not self.editable_mode:
            for source, target in self._extra_files():
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(source, target)

    def get_outputs(self, include_bytecode: bool = True) -> list[str]:
        """Lists every file built, so that uninstalling removes the extra ones as well."""
        outputs = super().get_outputs(include_bytecode)
        if self.editable_mode:
            return outputs
        return outputs + [str(target) for _, target in self._extra_files()]

    def _extra_files(self) -> list[tuple[Path, Path]]:
        library = Path(self.build_lib)
        files = [(ROOT / HOOK, library / HOOK)]
        for source in sorted(p for p in (ROOT / CONFIGS).rglob("*.*") if p.suffix in SHIPPED):
            name = source.relative_to(ROOT / CONFIGS)
            files.append((source, library / CONFIGS_IN_PACKAGE / name))
        return files


class EditableStrategy:
    """Fills an editable wheel: one line with the path of the checkout, and the hook.

    setuptools' own choice for this layout is a finder written in Python, which costs every start
    of Python some 16 ms.
    """

    def __call__(self, wheel: Any, files: list[str], mapping: dict[str, str]) -> None:
        """Writes both .pth files into `wheel`."""
        wheel.writestr(CHECKOUT, f"{ROOT}\n")
        wheel.write(str(ROOT / HOOK), HOOK)

    def __enter__(self) -> EditableStrategy:
        return self

    def __exit__(self, *error: object) -> None:
        """Has nothing to clean up."""


class EditableWheel(editable_wheel):
    """An editable wheel that brings the hook too."""

    def _select_strategy(self, *args: object, **kwargs: object) -> EditableStrategy:
        return EditableStrategy()


def version() -> str:
    """Reads the version, which stands in the package alone."""
    text = (ROOT / "clipvil_mmf" / "__init__.py").read_text(encoding="utf-8")
    return re.findall(r'^__version__ = "(.+)"$', text, re.MULTILINE)[0]


def packages() -> list[str]:
    """Names every package of the plugin and the bridge."""
    found = [path.parent for top in ("clipvil_mmf", "mmf_bridge") for path in _inits(top)]
    return sorted(".".join(path.relative_to(ROOT).parts) for path in found)


def _inits(top: str) -> list[Path]:
    return list((ROOT / top).rglob("__init__.py"))


setup(
    name="clipvil-mmf",
    version=version(),
    description="CLIP-ViL visual question answering for MMF, on today's Python and PyTorch",
    long_description=(ROOT / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="BSD-3-Clause",
    python_requires=">=3.10",
    packages=packages(),
    install_requires=[
        # The plugin.
        "torch>=2.6",
        "torchvision>=0.21",
        "open_clip_torch>=3.0",
        "omegaconf>=2.3",
        "filelock>=3.12",
        "packaging>=22",
        "tokenizers>=0.20",
        "safetensors>=0.4",
        "numpy>=1.26",
        "pillow>=10.1",
        "pyarrow>=15",
        "rich>=13",
        "tensorboard>=2.15",
        "tqdm>=4.60",
        "typer>=0.12",
        # What MMF imports. MMF itself is installed with --no-deps (docs/install.md): it pins the
        # packages of 2020, and of these it needs today's.
        "demjson3>=3.0.6",
        "fvcore>=0.1.5.post20221221",
        "GitPython>=3.1",
        "iopath>=0.1.10",
        "lmdb>=1.4",
        "nltk>=3.8",
        "requests>=2.28",
        "scikit-learn>=1.3",
        "termcolor>=2.0",
        "transformers>=5.0",
    ],
    extras_require={
        "demo": ["gradio>=6.0"],
        "easy-vqa": ["easy-vqa>=1.0"],
        "lora": ["peft>=0.13"],
        "m4c": ["editdistance>=0.8"],
        "onnx": ["onnx>=1.18", "onnxruntime>=1.20", "onnxscript>=0.5"],
        "plot": ["matplotlib>=3.7"],
        "serve": ["fastapi>=0.115", "python-multipart>=0.0.18", "uvicorn>=0.30"],
        "mmf-main": ["matplotlib>=3.7", "pandas>=2.0", "pytorch-lightning>=2.2"],
        "test": ["pytest>=8.0", "ruff>=0.9"],
    },
    entry_points={
        "console_scripts": ["clipvil = clipvil_mmf.cli.main:app"],
        "mmf.plugins": ["clipvil = clipvil_mmf"],
    },
    cmdclass={"build_py": BuildPy, "editable_wheel": EditableWheel},
    classifiers=[
        "License :: OSI Approved :: BSD License",
        "Operating System :: POSIX :: Linux",
        "Programming Language :: Python :: 3",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
    ],
)
