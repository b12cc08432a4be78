"""Builds and installs mmf-bridge alone: MMF on today's packages, without the CLIP-ViL plugin."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py
from setuptools.command.editable_wheel import editable_wheel

ROOT = Path(__file__).resolve().parent
HOOK = "mmf_bridge.pth"


class BuildPy(build_py):
    """Adds to a wheel the hook that Python reads at its start."""

    def run(self) -> None:
        """Builds the package, then copies the hook beside it."""
        super().run()
        if not self.editable_mode:
            shutil.copyfile(ROOT / HOOK, Path(self.build_lib, HOOK))

    def get_outputs(self, include_bytecode: bool = True) -> list[str]:
        """Lists every file built, so that uninstalling removes the hook as well."""
        outputs = super().get_outputs(include_bytecode)
        return outputs if self.editable_mode else [*outputs, str(Path(self.build_lib, HOOK))]


class WithHook:
    """Another strategy of filling an editable wheel, and the hook."""

    def __init__(self, strategy: Any) -> None:
        self.strategy = strategy

    def __call__(self, wheel: Any, files: list[str], mapping: dict[str, str]) -> None:
        """Writes what the strategy writes, and the hook, into `wheel`."""
        self.strategy(wheel, files, mapping)
        wheel.write(str(ROOT / HOOK), HOOK)

    def __enter__(self) -> WithHook:
        self.strategy.__enter__()
        return self

    def __exit__(self, *error: Any) -> Any:
        return self.strategy.__exit__(*error)


class EditableWheel(editable_wheel):
    """An editable wheel that brings the hook too."""

    def _select_strategy(self, *args: Any, **kwargs: Any) -> WithHook:
        return WithHook(super()._select_strategy(*args, **kwargs))


setup(
    name="mmf-bridge",
    version="0.1.0",
    description="MMF (facebookresearch/mmf) on today's Python, PyTorch, transformers and omegaconf",
    long_description=(ROOT / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="BSD-3-Clause",
    python_requires=">=3.10",
    packages=find_packages(),
    install_requires=[
        # What MMF imports, in today's versions, and what the bridge needs. MMF itself is installed
        # with --no-deps: it pins the packages of 2020.
        "demjson3>=3.0.6",
        "filelock>=3.12",
        "fvcore>=0.1.5.post20221221",
        "GitPython>=3.1",
        "iopath>=0.1.10",
        "lmdb>=1.4",
        "nltk>=3.8",
        "numpy>=1.26",
        "omegaconf>=2.3",
        "packaging>=22",
        "pillow>=10.1",
        "requests>=2.28",
        "safetensors>=0.4",
        "scikit-learn>=1.3",
        "tensorboard>=2.15",
        "termcolor>=2.0",
        "torch>=2.6",
        "torchvision>=0.21",
        "tqdm>=4.60",
        "transformers>=5.0",
    ],
    extras_require={
        "m4c": ["editdistance>=0.8"],
        "mmf-main": ["matplotlib>=3.7", "pandas>=2.0", "pytorch-lightning>=2.2"],
    },
    classifiers=[
        "License :: OSI Approved :: BSD License",
        "Operating System :: POSIX :: Linux",
        "Programming Language :: Python :: 3",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
    ],
    cmdclass={"build_py": BuildPy, "editable_wheel": EditableWheel},
)
