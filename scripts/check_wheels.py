"""Build the wheel of every member, judge it, and install it alone into a clean environment.

An environment gets the third-party packages that the lock has for the one member, then its wheel
with no index to fall back on: what the wheel requires beyond them would be missing. In it every
module imports, every console script answers and the Python examples of the README run.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from email.message import Message
from email.parser import Parser
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Member:
    """A package of the workspace, as its pyproject.toml describes it."""

    folder: Path
    project: Mapping[str, Any]
    module: str

    @property
    def name(self) -> str:
        """As it is installed."""
        return self.project["name"]

    @property
    def scripts(self) -> Mapping[str, str]:
        """Its console scripts."""
        return self.project.get("scripts", {})


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("members", nargs="*", help="only install these (default: all)")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="leave the distributions there")
    parser.add_argument("--release", metavar="TAG", help="expect this version, written v1.2.3")
    options = parser.parse_args(arguments)
    members = list(workspace_members(ROOT))
    expected = options.release or f"v{members[0].project['version']}"
    with tempfile.TemporaryDirectory() as scratch:
        dist = options.keep or Path(scratch, "dist")
        run([find_uv(), "build", "--quiet", "--all-packages", "--out-dir", str(dist)])
        problems = [
            f"{member.folder}/pyproject.toml has version {member.project['version']}, "
            f"expected {expected} in every member"
            for member in members
            if f"v{member.project['version']}" != expected
        ]
        for member in members:
            problems += judge(find_wheel(dist, member), member)
        if problems:
            print("\n".join(problems), file=sys.stderr)
            return 1
        print(f"judged {len(members)} wheels: metadata, licence, typing, requirements, scripts")
        for member in members:
            if not options.members or member.name in options.members:
                install_alone(member, dist, Path(scratch, member.name))
    return 0


def workspace_members(root: Path) -> Iterator[Member]:
    """Every package that the root's pyproject.toml has as a member, by name."""
    patterns = read_toml(root / "pyproject.toml")["tool"]["uv"]["workspace"]["members"]
    for folder in sorted(folder for pattern in patterns for folder in root.glob(pattern)):
        described = read_toml(folder / "pyproject.toml")
        project = described["project"]
        build = described.get("tool", {}).get("uv", {}).get("build-backend", {})
        module = build.get("module-name", project["name"].replace("-", "_"))
        yield Member(folder, project, module)


def judge(wheel: Path, member: Member) -> list[str]:
    """What is wrong with a wheel, a line each."""
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        info = next(name for name in names if name.endswith(".dist-info/METADATA")).rsplit("/", 1)[
            0
        ]
        metadata = Parser().parsestr(archive.read(f"{info}/METADATA").decode())
        licence = f"{info}/licenses/LICENSE"
        licence_text = archive.read(licence).decode() if licence in names else ""
        entries = f"{info}/entry_points.txt"
        scripts = archive.read(entries).decode() if entries in names else ""
    expected = {
        "has a summary": bool(metadata["Summary"]),
        "has a README": bool(str(metadata.get_payload()).strip()),
        "names the licence MIT": metadata["License-Expression"] == "MIT",
        "holds the licence": licence_text == (ROOT / "LICENSE").read_text(),
        "says which Python": metadata["Requires-Python"] is not None,
        "is typed": f"{member.module}/py.typed" in names,
        "holds its module and nothing else": {name.split("/")[0] for name in names}
        == {member.module, info},
        "has its extras": set(metadata.get_all("Provides-Extra", []))
        == set(member.project.get("optional-dependencies", {})),
        "has its console scripts": dict(re.findall(r"^(\S+) *= *(\S+)$", scripts, re.MULTILINE))
        == dict(member.scripts),
    }
    failed = [
        f"{wheel.name}: expected that it {what}" for what, holds in expected.items() if not holds
    ]
    return [*failed, *(f"{wheel.name}: {problem}" for problem in _bad_requirements(metadata))]


def _bad_requirements(metadata: Message) -> Iterator[str]:
    """Requirements that an index cannot serve, or that mix releases of this workspace."""
    own = Version(metadata["Version"])
    following = Version(f"{own.major}.{own.minor + 1}.0")
    for requirement in map(Requirement, metadata.get_all("Requires-Dist", [])):
        if requirement.url is not None:
            yield f"requires {requirement}, which no index can serve"
        elif requirement.name.split("-")[0] == "ttt" and (
            own not in requirement.specifier or following in requirement.specifier
        ):
            yield f"requires {requirement}, expected bounds that hold {own} and not {following}"


def install_alone(member: Member, dist: Path, environment: Path) -> None:
    """Install the wheel of one member where nothing else is, and use it."""
    selection = ["--no-dev", "--no-install-workspace", "--package", member.name]
    variables = {**os.environ, "UV_PROJECT_ENVIRONMENT": str(environment)}
    run([str(ROOT / "scripts/setup_env.sh"), "cpu", *selection], variables)
    python = str(environment / "bin/python")
    source = ["--no-index", "--find-links", str(dist)]
    run([find_uv(), "pip", "install", "--quiet", "--python", python, *source, member.name])
    run([find_uv(), "pip", "check", "--quiet", "--python", python])
    run([python, "-I", "-c", IMPORT_ALL, member.module])
    for script in member.scripts:
        run([str(environment / "bin" / script), "--help"])
    readme = (member.folder / "README.md").read_text()
    examples = re.findall(r"```python\n(.*?)```", readme, flags=re.DOTALL)
    for example in examples:
        run([python, "-I", "-c", example], folder=environment)
    shutil.rmtree(environment)
    used = ["imports", *(f"{script} --help" for script in member.scripts)]
    used += [f"{len(examples)} examples of its README"] if examples else []
    print(f"{member.name} alone: {', '.join(used)}", flush=True)


IMPORT_ALL = """
import importlib, pkgutil, sys
package = importlib.import_module(sys.argv[1])
assert "site-packages" in package.__file__, package.__file__
for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
    if not module.name.endswith("__main__"):
        try:
            importlib.import_module(module.name)
        except ModuleNotFoundError as error:
            if error.name.split(".")[0] == sys.argv[1]:
                raise
            print("needs an extra:", module.name, error.name, file=sys.stderr)
"""


def find_wheel(dist: Path, member: Member) -> Path:
    """The wheel of a member among those that were built."""
    stem = member.name.replace("-", "_")
    return dist / f"{stem}-{member.project['version']}-py3-none-any.whl"


def find_uv() -> str:
    """The uv on the path, or the one that scripts/setup_env.sh installed."""
    return shutil.which("uv") or str(ROOT / ".tools/bin/uv")


def read_toml(path: Path) -> dict[str, Any]:
    """Parse a TOML file."""
    return tomllib.loads(path.read_text())


def run(
    command: Sequence[str], variables: Mapping[str, str] | None = None, folder: Path = ROOT
) -> None:
    """Run a command in a folder; show what it said, and stop, if it fails."""
    done = subprocess.run(  # noqa: S603  (our own commands)
        command, cwd=folder, env=variables, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        sys.exit(f"failed ({done.returncode}): {' '.join(command)}\n{done.stdout}{done.stderr}")


if __name__ == "__main__":
    sys.exit(main())
