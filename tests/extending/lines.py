"""What each component of the plugin took: ``python -m tests.extending.lines``."""

from pathlib import Path

from tests.extending.conftest import HERE, KINDS

PLUGIN = HERE / "myplugin"


def registry_line(kind):
    """The line that registers a component: of the plugin's start, or of its own file."""
    text = (PLUGIN / "__init__.py").read_text() + (PLUGIN / kind.files[0]).read_text()
    (line,) = [
        line
        for line in text.splitlines()
        if f'["{kind.config}"] =' in line or f'register_builder("{kind.config}")' in line
    ]
    return line.strip()


def written(file: Path):
    """Lines of a file that are neither empty nor a comment."""
    lines = (line.strip() for line in file.read_text().splitlines())
    return sum(bool(line) and not line.startswith("#") for line in lines)


def main():
    for name, kind in KINDS.items():
        files = (*kind.files, f"configs/{kind.config}.yaml")
        counts = ", ".join(f"{file} {written(PLUGIN / file)}" for file in files)
        print(f"{name}: {counts}; {registry_line(kind)}")


if __name__ == "__main__":
    main()
